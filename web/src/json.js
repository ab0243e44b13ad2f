/** Bytes -> a JSON object, which is refused where reading it could take more than its bytes promise. */

import { AGAIN, BundleError } from "./errors.js";

const DEEPEST = 32; // a tokenizer's are nested 6 deep
const [OPENING, CLOSING] = [new Set([0x5b, 0x7b]), new Set([0x5d, 0x7d])]; // [ { and ] }
const [QUOTE, BACKSLASH] = [0x22, 0x5c];

/**
 * Returns the object that a file of a bundle holds.
 *
 * @param {Uint8Array} bytes
 * @param {string} name of the file, for the sentence
 */
export function parseObject(bytes, name) {
  if (depth(bytes) > DEEPEST) throw new BundleError(`${name} is not one of a bundle: its values are nested too deeply.`);
  let value;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    const isPage = /^\s*<(!doctype|html|\?xml|!--)/i.test(new TextDecoder().decode(bytes.subarray(0, 200)));
    // The engine's own words would quote the file.
    throw new BundleError(`${name} is not JSON${isPage ? " but a web page" : ""}; ${AGAIN}.`);
  }
  if (!isObject(value)) throw new BundleError(`${name} does not hold a JSON object; ${AGAIN}.`);
  return value;
}

/** Says whether a value is an object with keys, and no list. */
export function isObject(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

/** Returns how deep the lists and objects of a JSON text are nested. */
function depth(bytes) {
  let deepest = 0;
  let now = 0;
  let quoted = false;
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at];
    if (quoted && byte === BACKSLASH) at++;
    else if (byte === QUOTE) quoted = !quoted;
    else if (!quoted && OPENING.has(byte)) deepest = Math.max(deepest, ++now);
    else if (!quoted && CLOSING.has(byte)) now--;
  }
  return deepest;
}
