/**
 * Files that were dropped, chosen, fetched or kept -> a bundle whose files are what its manifest says.
 *
 * A bundle is a folder: model.onnx, tokenizer.json, config.json, README.md, and manifest.json with the size and the
 * sha256 digest of each of the others. Nothing in it is executed, and nothing is read before its digest is right. The
 * card, README.md, is not read, and its owner may edit it.
 */

import { AGAIN, BundleError } from "./errors.js";
import { isObject, parseObject } from "./json.js";

/** What the page reads of a bundle, beside the manifest. */
export const NEEDED = ["model.onnx", "tokenizer.json", "config.json"];

/** The most bytes of a file: a BERT-base in float32 takes 440 MB, and a tokenizer of 250,000 pieces 6 MB. */
export const LARGEST = { "manifest.json": 2 ** 20, "config.json": 2 ** 22, "tokenizer.json": 2 ** 26, "README.md": 2 ** 26 };
const LARGEST_OTHER = 2 ** 29;

const FORMATS = [1, 2, 3, 4]; // the same as in src/lilliput/inference/format.py
const KINDS = ["classification", "multilabel", "regression", "tagging", "joint", "fill", "encode"];
const MOST_FILES = 100;
const MOST_NAMES = 100_000; // classes, and tags
const MOST_POSITIONS = 2 ** 16;
const LONGEST_NAME = 1000; // characters of a class, a tag or a task

/**
 * Checks the files of a bundle against its manifest and reads those the page needs.
 *
 * @param {Map<string, Blob>} given the files by name
 * @returns {Promise<{config: object, tokenizer: object, model: Uint8Array, sizes: [string, number][]}>} its settings,
 *     its tokenizer, its model, and the bytes of every file of the bundle
 */
export async function readBundle(given) {
  if (!globalThis.crypto?.subtle) {
    throw new BundleError(
      "This page cannot check a bundle here, because browsers compute digests only for pages from https or from " +
        "localhost; open it from such an address.",
    );
  }
  const listed = await readManifest(given);
  for (const name of NEEDED) {
    if (!listed.has(name)) throw new BundleError(`manifest.json does not list ${name}; ${AGAIN}.`);
    if (!given.has(name)) {
      throw new BundleError(`The bundle lacks ${name}, which its manifest lists; choose all files of the folder.`);
    }
  }
  const contents = new Map();
  for (const [name, entry] of listed) {
    if (!given.has(name) || name === "README.md") continue;
    const bytes = await readChecked(name, given.get(name), entry);
    if (NEEDED.includes(name)) contents.set(name, bytes); // the others are known to be right, and are not held
  }
  const config = parseObject(contents.get("config.json"), "config.json");
  checkConfig(config);
  const tokenizer = parseObject(contents.get("tokenizer.json"), "tokenizer.json");
  const sizes = [...listed].map(([name, entry]) => [name, given.get(name)?.size ?? entry.bytes]);
  sizes.push(["manifest.json", given.get("manifest.json").size]);
  return { config, tokenizer, model: contents.get("model.onnx"), sizes };
}

/** Returns the files that belong to a bundle, of those that were chosen with it. */
export async function filesOfBundle(given) {
  const listed = await readManifest(given);
  return new Map([...given].filter(([name]) => listed.has(name) || name === "manifest.json"));
}

/** Returns the files of a list from a file input or a drop, by name: of a folder, those directly in it. */
export function listedFiles(list) {
  const depth = (file) => (file.webkitRelativePath || file.name).split("/").length;
  const files = [...list];
  const manifests = files.filter((file) => file.name === "manifest.json");
  const top = (manifests.length ? manifests : files).reduce((least, file) => Math.min(least, depth(file)), Infinity);
  return new Map(files.filter((file) => depth(file) === top).map((file) => [file.name, file]));
}

async function readManifest(given) {
  const file = given.get("manifest.json");
  if (!file) {
    const found = [...given.keys()].slice(0, 5).join(", ") || "nothing";
    throw new BundleError(
      `No manifest.json is among the files (found: ${found}); choose the folder of a bundle, or all files in it.`,
    );
  }
  return listedIn(await readBytes("manifest.json", file));
}

/**
 * Returns what a manifest says of each file, by name.
 *
 * @param {Uint8Array} bytes
 * @returns {Map<string, {bytes: number, sha256: string}>}
 */
export function listedIn(bytes) {
  const manifest = parseObject(bytes, "manifest.json");
  checkFormat(manifest.format, "manifest.json");
  const listed = new Map(isObject(manifest.files) ? Object.entries(manifest.files) : []);
  if (listed.size > MOST_FILES) throw new BundleError(`manifest.json lists ${listed.size} files; a bundle has five or six.`);
  for (const [name, entry] of listed) {
    if (/^$|^\.|[/\\:\0]/.test(name)) {
      throw new BundleError(`manifest.json lists ${JSON.stringify(name)}, which is not the name of a file in it; ${AGAIN}.`);
    }
    if (!Number.isSafeInteger(entry?.bytes) || entry.bytes < 0 || !/^[0-9a-f]{64}$/.test(entry?.sha256)) {
      throw new BundleError(`manifest.json gives no size and sha256 digest of ${name}; ${AGAIN}.`);
    }
    checkSize(name, entry.bytes);
  }
  return listed;
}

async function readChecked(name, file, entry) {
  if (file.size !== entry.bytes) {
    throw new BundleError(
      `${name} has ${file.size} bytes, but ${entry.bytes} according to the manifest: it was altered or cut short; ` +
        `${AGAIN}.`,
    );
  }
  const bytes = await readBytes(name, file);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const written = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (written !== entry.sha256) {
    throw new BundleError(`${name} was altered: its sha256 digest is not the one in the manifest; ${AGAIN}.`);
  }
  return bytes;
}

function checkSize(name, bytes) {
  const most = LARGEST[name] ?? LARGEST_OTHER;
  if (bytes > most) throw new BundleError(`${name} has ${bytes} bytes; this page reads at most ${most} of such a file.`);
}

async function readBytes(name, file) {
  checkSize(name, file.size);
  try {
    return new Uint8Array(await file.arrayBuffer());
  } catch (error) {
    throw new BundleError(`${name} cannot be read (${error.message}); choose the bundle again.`);
  }
}

function checkFormat(format, name) {
  if (FORMATS.includes(format)) return;
  throw new BundleError(
    Number.isSafeInteger(format) && format > FORMATS.at(-1)
      ? `${name} has format ${format}, and this page reads formats up to ${FORMATS.at(-1)}; take the page of a newer lilliput.`
      : `${name} does not say format ${FORMATS.join(" or ")}; ${AGAIN}.`,
  );
}

const isText = (value) => typeof value === "string" && value.length <= LONGEST_NAME;
const isShare = (value) => typeof value === "number" && value >= 0 && value <= 1;
const isWhole = (least, most) => (value) => Number.isSafeInteger(value) && value >= least && value <= most;

/** What config.json has to hold, beside the names of classes and tags: a check, and what is expected. */
const SETTINGS = {
  positions: [isWhole(3, MOST_POSITIONS), `a whole number from 3 to ${MOST_POSITIONS}`],
  opset: [isWhole(3, 1000), "a whole number from 3 to 1000"],
  quantization: [isText, "text"],
  lilliput: [isText, "text"],
  task: [(value) => value === undefined || value === null || isText(value), "text or null"],
  normalize: [(value) => value === undefined || typeof value === "boolean", "true or false"],
  prompt: [(value) => value === undefined || isText(value), "text"],
  pairs: [(value) => value === undefined || typeof value === "boolean", "true or false"],
  min_probability: [(value) => value === undefined || value === null || isShare(value), "a number from 0 to 1, or null"],
};

function checkConfig(config) {
  checkFormat(config.format, "config.json");
  const { kind } = config;
  if (!KINDS.includes(kind)) {
    throw new BundleError(`config.json has the kind ${quoted(kind)}; this page knows ${KINDS.join(", ")}.`);
  }
  const needed = { classes: ["classification", "multilabel", "joint"], tags: ["tagging", "joint"] };
  for (const [list, kinds] of Object.entries(needed)) {
    const names = config[list];
    const whole = Array.isArray(names) && names.length <= MOST_NAMES && names.every(isText);
    if (!whole || new Set(names).size !== names.length || names.length > 0 !== kinds.includes(kind)) {
      throw new BundleError(`config.json does not list the ${list} as the kind ${kind} needs it; ${AGAIN}.`);
    }
  }
  for (const [name, [fits, expected]] of Object.entries(SETTINGS)) {
    if (!fits(config[name])) {
      throw new BundleError(`config.json gives the ${name} ${quoted(config[name])}, expected is ${expected}; ${AGAIN}.`);
    }
  }
  if (isShare(config.min_probability) && !config.classes.length) {
    throw new BundleError(`config.json gives a min_probability, but no classes; ${AGAIN}.`);
  }
  if (config.pairs && config.tags.length) throw new BundleError("config.json says pairs, of which no words are tagged.");
}

function quoted(value) {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > 100 ? `${text.slice(0, 100)} …` : text;
}
