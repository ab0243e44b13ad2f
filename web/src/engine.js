/**
 * A worker with one bundle in it, which can be ended: whatever a bundle makes it compute, the page stays in its user's
 * hands. Each bundle has a worker of its own, so that a new one that fails leaves the one before as it was.
 */

import "./shell.js";

import { BundleError, Ended, firstLine } from "./errors.js";

/** Seconds that a step may take before its worker is ended. */
const LIMITS = { start: 300, open: 60, answer: 30 };
const LATE = {
  start: "The page's runtime was not loaded within 5 minutes; load the page again where the network is better.",
  open:
    "The bundle was not open after a minute, so the page gave it up: it is too large for this device, or made to " +
    "compute without end. Open another one.",
  answer:
    "There was no answer after half a minute, so the page ended the computation: the text is too long for this bundle " +
    "on this device, or the bundle is made to compute without end. Shorten the text, or open another bundle.",
};
const NO_WORKER =
  "The page cannot compute here: its worker does not start. Load the page again; if that does not help, use a current " +
  "browser, and a server that has all of the page's files and sends .mjs as text/javascript.";
const RENEWED = "This page was renewed while it was open, and its parts do not fit each other; load it again.";

/** The worker cannot compute at all: that is not a bundle's fault. */
export class EngineError extends BundleError {}

/** Compiled once, by the page: the browser keeps the result there, but not in workers. */
let runtime = null;

function compiledRuntime() {
  const address = new URL("ort-wasm-simd-threaded.wasm", import.meta.url);
  runtime ??= WebAssembly.compileStreaming(fetch(address)).catch((error) => {
    runtime = null; // the next engine tries again
    throw new EngineError(`The page's runtime cannot be loaded (${firstLine(error)}); load the page again.`);
  });
  return runtime;
}

export class Engine {
  #worker = null;
  #pending = null; // the step that the worker is at
  #last; // the latest step that was asked for: the worker does one after the other

  constructor() {
    this.ready = this.#step("start", () => {
      this.#worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
      this.#worker.addEventListener("message", ({ data }) => this.#receive(data));
      this.#worker.addEventListener("error", (event) => {
        event.preventDefault();
        this.end(new EngineError(NO_WORKER));
      });
      compiledRuntime().then(
        (module) => this.#worker?.postMessage({ runtime: module }),
        (error) => this.end(error),
      );
    });
    this.#last = this.ready.catch(() => {}); // whoever opens a bundle is told
  }

  /** Says whether it was ended. */
  get ended() {
    return this.#worker === null;
  }

  /**
   * Opens a bundle, once the worker has started.
   *
   * @param {Map<string, Blob>} files
   * @returns {Promise<{config: object, sizes: [string, number][], two: boolean, width: number}>}
   */
  async open(files) {
    const opening = this.#ask("open", { files });
    opening.catch(() => {}); // where the worker does not start, that is said
    await this.ready;
    return (await opening).opened;
  }

  /**
   * Returns the answer to one or two texts, and the milliseconds that each of some runs took.
   *
   * @param {string[]} texts
   * @param {{top?: number, runs?: number}} options as `Answering` takes them
   * @returns {Promise<{answer: object, times: number[]}>}
   */
  async answer(texts, options) {
    return this.#ask("answer", { texts, options });
  }

  /**
   * Returns the vectors of texts, side by side, and at which of them there are no words, or more than was read.
   *
   * @param {string[]} documents
   * @returns {Promise<{vectors: Float32Array, cut: number[], wordless: number[]}>}
   */
  async encode(documents) {
    return this.#ask("answer", { documents });
  }

  /** Ends the worker, whatever it does; what it was doing fails with `reason`. */
  end(reason = new Ended()) {
    this.#worker?.terminate();
    this.#worker = null;
    this.#settle()?.reject(reason);
  }

  /** Sends a message once the worker has answered those before; returns what it answers. */
  #ask(name, message) {
    const asked = this.#last.then(() => this.#step(name, () => this.#worker.postMessage(message)));
    this.#last = asked.catch(() => {});
    return asked;
  }

  #step(name, begin) {
    return new Promise((resolve, reject) => {
      if (name !== "start" && this.ended) return reject(new Ended());
      const timer = setTimeout(() => this.end(late(name)), 1000 * LIMITS[name]);
      this.#pending = { resolve, reject, timer, name };
      try {
        begin();
      } catch (error) {
        console.warn(error);
        this.end(new EngineError(NO_WORKER));
      }
    });
  }

  #receive(data) {
    const step = this.#settle();
    if ("ready" in data && data.ready !== globalThis.SHELL.version) return step?.reject(new EngineError(RENEWED));
    if (!("error" in data)) return step?.resolve(data);
    const error = data.ours ? new BundleError(data.error) : new EngineError(`The page failed (${data.error}); load it again.`);
    return step?.reject(step.name === "start" ? new EngineError(`${NO_WORKER} (${data.error})`) : error);
  }

  #settle() {
    const step = this.#pending;
    this.#pending = null;
    clearTimeout(step?.timer);
    return step;
  }
}

function late(name) {
  return name === "start" ? new EngineError(LATE[name]) : new BundleError(LATE[name]);
}
