/**
 * Where bundles come from: files that were dropped or chosen, a folder beside the page, and what was kept of either.
 *
 * One bundle is kept, in Cache Storage, so that it is there again after a reload and without a network.
 */

import { BundleError, NEEDED } from "./bundle.js";

const NAME = "lilliput-bundle";
const SOURCE = "x-lilliput-source"; // the folder it was fetched from; empty where it was chosen
const address = (name) => new URL(`kept-bundle/${name}`, document.baseURI).href;

/** Keeps a bundle in the place of the one kept before. Returns false where the browser does not let it. */
export async function keepBundle(files, source) {
  try {
    await forgetBundle();
    const cache = await caches.open(NAME);
    for (const [name, file] of files) {
      await cache.put(address(name), new Response(file, { headers: { [SOURCE]: encodeURIComponent(source) } }));
    }
    return true;
  } catch {
    await forgetBundle(); // half a bundle is none
    return false;
  }
}

/** Removes what was kept. */
export async function forgetBundle() {
  await globalThis.caches?.delete(NAME);
}

/**
 * Returns the files of the bundle that was kept, or null.
 *
 * @param {string | null} source the folder it must have been fetched from; null for any
 */
export async function keptBundle(source) {
  if (!globalThis.caches || !(await caches.has(NAME))) return null;
  const cache = await caches.open(NAME);
  const files = new Map();
  for (const request of await cache.keys()) {
    const response = await cache.match(request);
    if (source !== null && decodeURIComponent(response.headers.get(SOURCE)) !== source) return null;
    files.set(new URL(request.url).pathname.split("/").at(-1), await response.blob());
  }
  return files.size ? files : null;
}

/**
 * Fetches a bundle from a folder beside the page; without a network, what was kept of it.
 *
 * @param {string} folder its address, relative to the page
 * @returns {Promise<{files: Map<string, Blob>, source: string}>}
 */
export async function fetchBundle(folder) {
  let base;
  try {
    base = new URL(folder.endsWith("/") ? folder : `${folder}/`, document.baseURI);
  } catch {
    base = null;
  }
  if (base?.origin !== location.origin) {
    throw new BundleError(`'${folder}' is not a folder on this server; give an address relative to this page.`);
  }
  const source = base.href;
  const kept = await keptBundle(source);
  const manifest = await fetchFile(base, "manifest.json", kept !== null);
  if (kept && (manifest === null || (await sameText(manifest, kept.get("manifest.json"))))) return { files: kept, source };
  const files = new Map([["manifest.json", manifest]]);
  for (const name of NEEDED) files.set(name, await fetchFile(base, name, false));
  return { files, source };
}

async function fetchFile(base, name, mayLack) {
  let response;
  try {
    response = await fetch(new URL(name, base), { cache: "no-cache" });
    if (response.ok) return await response.blob();
  } catch {
    if (mayLack) return null; // no network
  }
  const reason = response ? `the server answers ${response.status}` : "the server does not answer";
  throw new BundleError(`${new URL(name, base).pathname} cannot be fetched: ${reason}; put a bundle into that folder.`);
}

async function sameText(blob, other) {
  return other !== undefined && (await blob.text()) === (await other.text());
}

/** Returns the files of a list from a file input or a drop, by name: of a folder, those directly in it. */
export function listedFiles(list) {
  const depth = (file) => (file.webkitRelativePath || file.name).split("/").length;
  const files = [...list];
  const manifests = files.filter((file) => file.name === "manifest.json");
  const top = Math.min(...(manifests.length ? manifests : files).map(depth));
  return new Map(files.filter((file) => depth(file) === top).map((file) => [file.name, file]));
}

/** Returns the files that were dropped, by name: files, or those directly in a folder. */
export async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const folder = entries.find((entry) => entry.isDirectory);
  if (!folder) return listedFiles(transfer.files);
  const inside = (await readEntries(folder)).filter((entry) => entry.isFile);
  const files = await Promise.all(inside.map((entry) => new Promise((resolve, reject) => entry.file(resolve, reject))));
  return new Map(files.map((file) => [file.name, file]));
}

async function readEntries(folder) {
  const reader = folder.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)); // at most 100 at a time
    if (!some.length) return found;
    found.push(...some);
  }
}
