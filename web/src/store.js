/**
 * Where bundles come from: files that were dropped or chosen, a folder beside the page, and what was kept of either.
 *
 * Two bundles are kept, in Cache Storage, so that they are there again after a reload and without a network: the last
 * one of the user's own, and the last one that a link named. They are named by the page's path, as pages of other paths
 * share the storage. A bundle is written beside the one before and then takes its place, so that there is never half a one.
 */

import { listedFiles, NEEDED } from "./bundle.js";
import { BundleError } from "./errors.js";
import { fetchListed, fetchManifest, NoAnswer } from "./fetched.js";

const HOME = new URL("./", document.baseURI);
const NAME = `lilliput-bundles ${HOME.pathname}`;
const MOST_ENTRIES = 10_000; // of a dropped folder: a bundle's has six

/** What is said of a bundle that is kept. */
export const KEPT = "This browser keeps the bundle for the next visit.";

const slotOf = (source) => (source ? "link" : "own");
const address = (...parts) => new URL(["kept-bundle", ...parts.map(encodeURIComponent)].join("/"), HOME).href;

/**
 * Keeps a bundle in the place of the one kept before.
 *
 * @param {Map<string, Blob>} files
 * @param {string} source the folder that it was fetched from; empty for one of the user's own
 * @returns {Promise<string>} whether it is kept, in a sentence
 */
export async function keepBundle(files, source) {
  const [slot, folder] = [slotOf(source), crypto.randomUUID()];
  const names = [...NEEDED, "manifest.json"];
  try {
    return await alone(async (cache) => {
      try {
        for (const name of names) await cache.put(address(slot, folder, name), new Response(files.get(name)));
        await cache.put(address(slot), Response.json({ folder, source, names }));
        await dropFolders(cache, slot, folder);
        return KEPT;
      } catch (error) {
        const { folder: before } = (await pointer(cache, slot)) ?? {};
        await dropFolders(cache, slot, before);
        throw error;
      }
    });
  } catch (error) {
    const reason = error.name === "QuotaExceededError" ? "it has no room left" : "its storage is switched off, as in private windows";
    return `This browser does not keep the bundle (${reason}); it has to be opened again after a reload.`;
  }
}

/** Removes what was kept of the user's own bundles, or of those that links named. */
export async function forgetBundle(source) {
  await alone(async (cache) => {
    await cache.delete(address(slotOf(source)));
    await dropFolders(cache, slotOf(source), null);
  }).catch(() => {}); // where nothing can be kept, nothing was
}

/**
 * Returns the bundle that was kept, or null.
 *
 * @param {string} source the folder that it must have been fetched from; empty for the user's own
 * @returns {Promise<Map<string, Blob> | null>} its files
 */
export async function keptBundle(source) {
  try {
    const cache = await caches.open(NAME);
    const kept = await pointer(cache, slotOf(source));
    if (!kept || kept.source !== source) return null;
    const files = new Map();
    for (const name of kept.names) {
      files.set(name, await (await cache.match(address(slotOf(source), kept.folder, name))).blob());
    }
    return files;
  } catch {
    return null; // no storage, or one that was emptied in part
  }
}

async function pointer(cache, slot) {
  return (await cache.match(address(slot)))?.json();
}

async function dropFolders(cache, slot, except) {
  for (const { url } of await cache.keys()) {
    if (url.startsWith(`${address(slot)}/`) && !(except && url.startsWith(`${address(slot, except)}/`))) await cache.delete(url);
  }
}

/** Does something with the cache while no other window of the page does. */
async function alone(task) {
  const run = async () => task(await caches.open(NAME));
  return navigator.locks ? navigator.locks.request(NAME, run) : run();
}

/**
 * Fetches a bundle from a folder beside the page; without a network, what was kept of it.
 *
 * @param {string} folder its address, relative to the page
 * @param {AbortSignal} signal
 * @param {(share: number) => void} onProgress told which share of the bytes is there, from 0 to 1
 * @returns {Promise<{files: Map<string, Blob>, source: string, kept: boolean}>}
 */
export async function fetchBundle(folder, signal, onProgress) {
  let base;
  try {
    base = new URL(folder.endsWith("/") ? folder : `${folder}/`, HOME);
  } catch {
    base = null;
  }
  if (base?.origin !== location.origin) {
    throw new BundleError(`'${folder.slice(0, 200)}' is not a folder on this server; give an address relative to this page.`);
  }
  const source = base.href;
  const kept = await keptBundle(source);
  let manifest;
  try {
    manifest = await fetchManifest(base, signal);
  } catch (error) {
    if (kept && error instanceof NoAnswer && !signal.aborted) return { files: kept, source, kept: true };
    throw error;
  }
  if (kept && (await manifest.text()) === (await kept.get("manifest.json").text())) return { files: kept, source, kept: true };
  return { files: await fetchListed(base, manifest, signal, onProgress), source, kept: false };
}

/** Returns the files that were dropped, by name: files, or those directly in a folder. */
export async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const folder = entries.find((entry) => entry.isDirectory);
  if (!folder) return listedFiles(transfer.files);
  try {
    const inside = (await readEntries(folder)).filter((entry) => entry.isFile);
    const files = await Promise.all(inside.map((entry) => new Promise((resolve, reject) => entry.file(resolve, reject))));
    return new Map(files.map((file) => [file.name, file]));
  } catch (error) {
    throw new BundleError(`The folder ${folder.name} cannot be read (${error.message}); choose it with the button.`);
  }
}

async function readEntries(folder) {
  const reader = folder.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)); // at most 100 at a time
    if (!some.length) return found;
    found.push(...some);
    if (found.length > MOST_ENTRIES) throw new Error(`it holds more than ${MOST_ENTRIES} files`);
  }
}
