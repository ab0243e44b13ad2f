/**
 * Where bundles come from: files that were dropped or chosen, a folder beside the page, and what was kept of either.
 *
 * Two bundles are kept, in Cache Storage, so that they are there again after a reload and without a network: the last
 * one of the user's own, and the last one that a link named. They are named by the page's path, as pages of other paths
 * share the storage. A bundle is written beside the one before and then takes its place, so that there is never half a one.
 */

import { LARGEST, listedIn, NEEDED } from "./bundle.js";
import { BundleError } from "./errors.js";

const HOME = new URL("./", document.baseURI);
const NAME = `lilliput-bundles ${HOME.pathname}`;
const STALL = 30_000; // milliseconds in which something must come from the server
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
 * @returns {Promise<{files: Map<string, Blob>, source: string, kept: boolean}>}
 */
export async function fetchBundle(folder, signal) {
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
  const fetched = (name, most) => fetchFile(new URL(name, base), name, most, signal);
  let manifest;
  try {
    manifest = await fetched("manifest.json", LARGEST["manifest.json"]);
  } catch (error) {
    if (kept && error instanceof NoAnswer && !signal.aborted) return { files: kept, source, kept: true };
    throw error;
  }
  if (kept && (await manifest.text()) === (await kept.get("manifest.json").text())) return { files: kept, source, kept: true };
  const listed = listedIn(new Uint8Array(await manifest.arrayBuffer()));
  const names = NEEDED.filter((name) => listed.has(name)); // whoever reads the bundle says what it lacks
  const files = await Promise.all(names.map(async (name) => [name, await fetched(name, listed.get(name).bytes)]));
  return { files: new Map([["manifest.json", manifest], ...files]), source, kept: false };
}

/** There is no network, or as good as none. */
class NoAnswer extends BundleError {}

async function fetchFile(address, name, most, signal) {
  const failed = (reason, Kind = BundleError) =>
    new Kind(`${address.pathname} cannot be fetched: ${reason}; put a bundle into that folder, or open one from this device.`);
  const control = new AbortController();
  signal.addEventListener("abort", () => control.abort());
  let timer;
  const patient = async (promise, reason) => {
    clearTimeout(timer);
    timer = setTimeout(() => control.abort(new Error("stall")), STALL);
    try {
      return await promise;
    } catch {
      const stalled = control.signal.reason?.message === "stall";
      throw failed(stalled ? `nothing came from the server for ${STALL / 1000} seconds` : reason, NoAnswer);
    } finally {
      clearTimeout(timer);
    }
  };
  const asked = fetch(address, { cache: "no-cache", signal: control.signal });
  const response = await patient(asked, "the server does not answer, or sends the page elsewhere");
  if (!response.ok) throw failed(`the server answers ${response.status}`);
  const answering = new URL(response.url).pathname;
  if (!answering.endsWith(`/${name}`)) throw failed(`the server sends the page on to ${answering.slice(0, 200)}`);
  const reader = response.body.getReader();
  const parts = [];
  for (let bytes = 0; ; ) {
    const { done, value } = await patient(reader.read(), "the server's answer breaks off");
    if (done) return new Blob(parts);
    bytes += value.length;
    if (bytes > most) {
      control.abort();
      throw failed(`it has more than the ${most} bytes that it should have`);
    }
    parts.push(value);
  }
}

/** Returns the files of a list from a file input or a drop, by name: of a folder, those directly in it. */
export function listedFiles(list) {
  const depth = (file) => (file.webkitRelativePath || file.name).split("/").length;
  const files = [...list];
  const manifests = files.filter((file) => file.name === "manifest.json");
  const top = (manifests.length ? manifests : files).reduce((least, file) => Math.min(least, depth(file)), Infinity);
  return new Map(files.filter((file) => depth(file) === top).map((file) => [file.name, file]));
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
