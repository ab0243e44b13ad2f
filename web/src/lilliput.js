/**
 * The library, in a browser: opens bundles and answers texts with them, in a worker.
 *
 *     import { load } from "lilliput-web";
 *     const model = await load("bundles/films");
 *     console.log(await model.answer("a fine film"));
 */

import { Engine } from "./engine.js";
import { fetchedFiles, loader } from "./loaded.js";

export { BundleError, Ended } from "./errors.js";
export { Model } from "./loaded.js";

const opened = loader(newEngine, fetchedFiles);

let spare = null;

function newEngine() {
  const engine = spare && !spare.ended ? spare : new Engine();
  spare = null;
  return engine;
}

/**
 * Loads the runtime before there is a bundle, so that the first one opens sooner.
 *
 * @returns {Promise<void>} once it is there
 */
export function prepare() {
  if (!spare || spare.ended) spare = new Engine();
  return spare.ready;
}

/**
 * Opens a bundle.
 *
 * @param {string | URL | Map<string, Blob> | Iterable<File>} source the address of its folder, or its files
 * @param {{signal?: AbortSignal, onProgress?: (share: number) => void}} [options] what stops it, and who is told which
 *     share of the bytes is there, from 0 to 1
 * @returns {Promise<import("./loaded.js").Model>}
 * @throws {BundleError} where it is no bundle, was altered, or cannot be run here: a sentence that says what to do
 */
export function load(source, options) {
  return opened(source, options);
}
