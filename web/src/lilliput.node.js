/** The library, in Node.js: as in a browser, but a source may be a folder of this machine, and there is no worker. */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import * as ort from "./ort.wasm.min.mjs";

import { Answering } from "./answering.js";
import { listedIn, NEEDED } from "./bundle.js";
import { BundleError, Ended } from "./errors.js";
import { fetchedFiles, loader } from "./loaded.js";

export { BundleError, Ended } from "./errors.js";
export { Model } from "./loaded.js";

ort.env.wasm.numThreads = 1;

/** A bundle in this thread: what has begun computes to its end, and is then not wanted. */
class Direct {
  #answering = new Answering(ort);
  ended = false;

  async open(files) {
    return (await this.#wanted(this.#answering.open(files))).opened;
  }

  answer(texts, options) {
    return this.#wanted(this.#answering.answer(texts, options));
  }

  encode(documents) {
    return this.#wanted(this.#answering.encode(documents));
  }

  end() {
    this.ended = true;
    this.#answering.close();
  }

  async #wanted(task) {
    const found = await task;
    if (this.ended) throw new Ended();
    return found;
  }
}

async function filesAt(source, options) {
  const text = String(source);
  if (/^https?:/.test(text)) return fetchedFiles(source, options);
  const folder = text.startsWith("file:") ? fileURLToPath(text) : text;
  const manifest = await read(folder, "manifest.json");
  const names = NEEDED.filter((name) => listedIn(manifest).has(name));
  const files = await Promise.all(names.map(async (name) => [name, new Blob([await read(folder, name)])]));
  return new Map([["manifest.json", new Blob([manifest])], ...files]);
}

async function read(folder, name) {
  try {
    return await readFile(join(folder, name));
  } catch (error) {
    throw new BundleError(`${join(folder, name)} cannot be read (${error.code}); give the folder of a bundle.`);
  }
}

/** Returns at once: there is nothing to load before a bundle. */
export async function prepare() {}

/** Opens a bundle; the address of its folder may be a path, too. See `lilliput.js`. */
export const load = loader(() => new Direct(), filesAt);
