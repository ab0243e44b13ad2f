/**
 * Opens one bundle and answers texts with it, beside the page: engine.js starts this and ends it.
 *
 * Messages to it are { runtime }, { files }, { texts, options } and { documents }, from it { ready }, { opened }, { answer, times },
 * { vectors, cut, wordless } and { error, ours }.
 */

import "./shell.js";
import * as ort from "./ort.wasm.min.mjs";

import { Answering } from "./answering.js";
import { BundleError, firstLine } from "./errors.js";

const MOST_MEMORY = 2 ** 31; // bytes of all that the network computes; the runtime alone would take twice that
// A model of one node, Identity: the runtime is fetched and started with it, before there is a bundle.
const IDENTITY = "CAgSADo3ChAKAXgSAXkiCElkZW50aXR5EgFnWg8KAXgSCgoICAESBAoCCAFiDwoBeRIKCggIARIECgIIAUIECgAQDQ==";

const answering = new Answering(ort);

/** The memory of WebAssembly, with an upper limit. */
class BoundedMemory extends WebAssembly.Memory {
  constructor(limits) {
    super({ ...limits, maximum: Math.min(limits.maximum ?? Infinity, MOST_MEMORY / 2 ** 16) });
  }
}

/**
 * Starts the runtime, which the page has compiled: once for all its workers, and as the browser kept it.
 *
 * @param {WebAssembly.Module} runtime
 */
async function start(runtime) {
  WebAssembly.Memory = BoundedMemory;
  WebAssembly.instantiateStreaming = async (response, imports) => {
    return { module: runtime, instance: await WebAssembly.instantiate(runtime, imports) };
  };
  globalThis.fetch = async () => null; // of the runtime, which is there; nothing else is to be fetched here
  ort.env.wasm.numThreads = 1; // more need headers that a plain server does not send
  ort.env.wasm.wasmPaths = new URL("./", import.meta.url).href;
  const session = await ort.InferenceSession.create(Uint8Array.from(atob(IDENTITY), (letter) => letter.charCodeAt(0)));
  await session.release();
  return { ready: globalThis.SHELL.version };
}

/** Sends what a task returns, or what is wrong. */
async function send(task) {
  try {
    postMessage(await task);
  } catch (error) {
    const ours = error instanceof BundleError;
    postMessage({ error: ours ? error.message : firstLine(error), ours });
  }
}

addEventListener("message", ({ data }) => {
  if (data.runtime) send(start(data.runtime));
  else if (data.files) send(answering.open(data.files));
  else send(data.texts ? answering.answer(data.texts, data.options) : answering.encode(data.documents));
});
