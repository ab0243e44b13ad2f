/** One open bundle and what is asked of it, wherever that runs: in a worker of the page's, or in Node.js. */

import { readBundle } from "./bundle.js";
import { openModel } from "./model.js";

const PATIENCE = 150; // milliseconds that repeated runs may take; a slow model runs once

export class Answering {
  #model = null;
  #ort;

  /** @param {object} ort onnxruntime-web */
  constructor(ort) {
    this.#ort = ort;
  }

  /**
   * Opens a bundle.
   *
   * @param {Map<string, Blob>} files
   */
  async open(files) {
    const bundle = await readBundle(files);
    this.#model = await openModel(bundle, this.#ort);
    const { config, sizes } = bundle;
    return { opened: { config, sizes, two: this.#model.two, width: this.#model.width } };
  }

  /**
   * Returns the answer to one or two texts, and the milliseconds that each run took.
   *
   * @param {string[]} texts
   * @param {{top?: number, runs?: number}} options the most classes that are named, and how often a fast model runs
   */
  async answer(texts, { top = Infinity, runs = 1 }) {
    const times = [];
    const begun = performance.now();
    let answer;
    do {
      const started = performance.now();
      answer = await this.#model.answer(texts[0], texts[1], top);
      times.push(performance.now() - started);
    } while (times.length < runs && performance.now() - begun < PATIENCE);
    return { answer, times };
  }

  /**
   * Returns the vectors of texts side by side in one array, and at which of them there are no words, or more than was
   * read.
   *
   * @param {string[]} documents
   */
  async encode(documents) {
    const { width } = this.#model;
    const { vectors, cut, wordless } = await this.#model.encode(documents);
    const all = new Float32Array(documents.length * width);
    vectors.forEach((vector, place) => all.set(vector, place * width));
    return { vectors: all, cut, wordless };
  }

  /** Gives the memory back. */
  async close() {
    await this.#model?.close();
    this.#model = null;
  }
}
