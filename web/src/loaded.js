/** Bundles as a library opens them: fetched or given, opened in an engine, and opened again after that was stopped. */

import { filesOfBundle, listedFiles } from "./bundle.js";
import { BundleError } from "./errors.js";
import { fetchListed, fetchManifest } from "./fetched.js";

/**
 * What a bundle says of texts.
 *
 * @typedef {{name: string, probability: number}} Choice
 * @typedef {{start: number, end: number, tag: string, probability: number}} Word
 * @typedef {{start: number, end: number, name: string, probability: number}} Slot
 * @typedef {{start: number, end: number, guesses: {piece: string, probability: number}[]}} Mask
 * @typedef {{pieces: number, cut: boolean, unknown: number, unsure?: boolean, classes?: Choice[], labels?: Choice[], score?: number, words?: Word[], slots?: Slot[],
 *     masks?: Mask[], similarity?: number, vectors?: Float32Array[]}} Answer
 */

/** A bundle that is open. Ask it one thing after the other; what is asked meanwhile waits. */
export class Model {
  #files;
  #engine;
  #newEngine;
  #isClosed = false;

  /** Made by `load`. */
  constructor(files, engine, opened, newEngine) {
    this.#files = files;
    this.#engine = engine;
    this.#newEngine = newEngine;
    /** Its settings, as config.json has them. @type {Record<string, unknown>} */
    this.config = opened.config;
    /** What it does: classification, multilabel, regression, tagging, joint, fill or encode. @type {string} */
    this.kind = opened.config.kind;
    /** Name and bytes of each of its files. @type {[string, number][]} */
    this.sizes = opened.sizes;
    /** Whether it reads two texts. @type {boolean} */
    this.two = opened.two;
    /** Numbers of a vector, or of what the network returns. @type {number} */
    this.width = opened.width;
  }

  /**
   * Returns what the bundle says of a text, or of two.
   *
   * @param {string} text
   * @param {string} [second] the other text of a pair or of a comparison
   * @param {{top?: number, signal?: AbortSignal}} [options] the most classes that are named, the most probable first, and
   *     what stops the computation
   * @returns {Promise<Answer>}
   */
  async answer(text, second = "", { top = Infinity, signal } = {}) {
    return (await this.timed([text, second], { top, signal })).answer;
  }

  /**
   * Returns an answer with the milliseconds that each of some runs took, for those who show them.
   *
   * @param {string[]} texts
   * @param {{top?: number, runs?: number, signal?: AbortSignal}} [options]
   * @returns {Promise<{answer: Answer, times: number[]}>}
   */
  async timed(texts, { top = Infinity, runs = 1, signal } = {}) {
    if (!texts.every((text) => typeof text === "string")) throw new BundleError("A text is a string; give one, or two.");
    return this.#ask((engine) => engine.answer(texts, { top, runs }), signal);
  }

  /**
   * Returns the vectors of texts.
   *
   * @param {string[]} texts
   * @param {{signal?: AbortSignal}} [options]
   * @returns {Promise<{vectors: Float32Array[], cut: number[], wordless: number[]}>} at which texts some was not read,
   *     and which have no words, and zeros for a vector
   */
  async encode(texts, { signal } = {}) {
    if (this.kind !== "encode") throw new BundleError(`This bundle does ${this.kind}, it gives no vectors.`);
    if (!texts.length) return { vectors: [], cut: [], wordless: [] };
    const { vectors, cut, wordless } = await this.#ask((engine) => engine.encode(texts), signal);
    const rows = texts.map((_, row) => vectors.subarray(row * this.width, (row + 1) * this.width));
    return { vectors: rows, cut, wordless };
  }

  /** Stops what is being computed, which fails with `Ended`; the next question begins anew. */
  stop() {
    this.#engine.end();
  }

  /** Gives the memory back. A closed model answers no more. */
  close() {
    this.#isClosed = true;
    this.#engine.end();
  }

  async #ask(question, signal) {
    signal?.throwIfAborted();
    const stop = () => this.stop();
    signal?.addEventListener("abort", stop);
    try {
      return await question(await this.#working());
    } catch (error) {
      signal?.throwIfAborted();
      throw error;
    } finally {
      signal?.removeEventListener("abort", stop);
    }
  }

  /** Returns the engine; a new one where it was ended. */
  async #working() {
    if (this.#isClosed) throw new BundleError("This bundle is closed; load it again.");
    if (!this.#engine.ended) return this.#engine;
    const engine = (this.#engine = this.#newEngine());
    try {
      await engine.open(this.#files);
    } catch (error) {
      engine.end(); // whoever asks next has a new one
      throw error;
    }
    return engine;
  }
}

/**
 * Returns what loads bundles into engines of a kind.
 *
 * @param {() => object} newEngine
 * @param {(source: string | URL, options: object) => Promise<Map<string, Blob>>} filesAt
 * @returns {(source: any, options?: {signal?: AbortSignal, onProgress?: (share: number) => void}) => Promise<Model>}
 */
export function loader(newEngine, filesAt) {
  return async (source, { signal, onProgress } = {}) => {
    const isAddress = typeof source === "string" || source instanceof URL;
    let engine;
    const stop = () => engine?.end();
    signal?.addEventListener("abort", stop);
    try {
      const files = isAddress ? await filesAt(source, { signal, onProgress }) : await filesGiven(source);
      signal?.throwIfAborted();
      engine = newEngine();
      return new Model(files, engine, await engine.open(files), newEngine);
    } catch (error) {
      stop();
      signal?.throwIfAborted();
      throw error;
    } finally {
      signal?.removeEventListener("abort", stop);
    }
  };
}

/** Returns the files of a bundle, of those given: by name, or a list as a page has it. */
async function filesGiven(source) {
  return source instanceof Map ? source : filesOfBundle(listedFiles(source));
}

/**
 * Fetches the files of a bundle.
 *
 * @param {string | URL} source the address of its folder
 * @param {{signal?: AbortSignal, onProgress?: (share: number) => void}} options
 */
export async function fetchedFiles(source, { signal, onProgress }) {
  let base;
  try {
    base = new URL(source, globalThis.document?.baseURI);
  } catch {
    throw new BundleError(`'${String(source).slice(0, 200)}' is no address of a bundle's folder.`);
  }
  if (!base.pathname.endsWith("/")) base.pathname += "/";
  return fetchListed(base, await fetchManifest(base, signal), signal, onProgress);
}
