/**
 * Files that were dropped, chosen, fetched or kept -> a bundle whose files are what its manifest says.
 *
 * A bundle is a folder: model.onnx, tokenizer.json, config.json, README.md, and manifest.json with the size and the
 * sha256 digest of each of the others. Nothing in it is executed, and nothing is read before its digest is right.
 */

/** What the page reads of a bundle, beside the manifest. */
export const NEEDED = ["model.onnx", "tokenizer.json", "config.json"];

const FORMAT = 1;
const KINDS = ["classification", "regression", "tagging", "joint", "fill", "encode"];
const AGAIN = "fetch the bundle again, or export it again";
const LARGEST_TEXT = 64e6; // a manifest, a config or a tokenizer; the largest vocabularies take 20 MB

/** What is wrong with a bundle or a text, in a sentence for its user. */
export class BundleError extends Error {}

/**
 * Checks the files of a bundle against its manifest and reads those the page needs.
 *
 * @param {Map<string, Blob>} given the files by name
 * @returns {Promise<{config: object, tokenizer: object, model: Uint8Array, sizes: [string, number][],
 *     files: Map<string, Blob>}>} its settings, its tokenizer, its model, the bytes of every file of the bundle and
 *     the files as they were given
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
    if (given.has(name)) contents.set(name, await readChecked(name, given.get(name), entry));
  }
  const config = parse(contents.get("config.json"), "config.json");
  checkConfig(config);
  const tokenizer = parse(contents.get("tokenizer.json"), "tokenizer.json");
  const sizes = [...listed].map(([name, entry]) => [name, entry.bytes]);
  sizes.push(["manifest.json", given.get("manifest.json").size]);
  const files = new Map([...given].filter(([name]) => listed.has(name) || name === "manifest.json"));
  return { config, tokenizer, model: contents.get("model.onnx"), sizes, files };
}

async function readManifest(given) {
  const file = given.get("manifest.json");
  if (!file) {
    const found = [...given.keys()].slice(0, 5).join(", ") || "nothing";
    throw new BundleError(
      `No manifest.json is among the files (found: ${found}); choose the folder of a bundle, or all files in it.`,
    );
  }
  const manifest = parse(await readBytes("manifest.json", file, LARGEST_TEXT), "manifest.json");
  checkFormat(manifest.format, "manifest.json");
  const listed = new Map(Object.entries(manifest.files ?? {}));
  for (const [name, entry] of listed) {
    if (!Number.isSafeInteger(entry?.bytes) || !/^[0-9a-f]{64}$/.test(entry?.sha256)) {
      throw new BundleError(`manifest.json gives no size and sha256 digest of ${name}; ${AGAIN}.`);
    }
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
  const bytes = await readBytes(name, file, name === "model.onnx" ? Infinity : LARGEST_TEXT);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const written = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (written !== entry.sha256) {
    throw new BundleError(`${name} was altered: its sha256 digest is not the one in the manifest; ${AGAIN}.`);
  }
  return bytes;
}

async function readBytes(name, file, largest) {
  if (file.size > largest) throw new BundleError(`${name} has ${file.size} bytes, too many for what it is; ${AGAIN}.`);
  try {
    return new Uint8Array(await file.arrayBuffer());
  } catch (error) {
    throw new BundleError(`${name} cannot be read (${error.message}); choose the bundle again.`);
  }
}

function parse(bytes, name) {
  let value;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    // The engine's own words would quote the file.
  }
  if (value === null || typeof value !== "object") throw new BundleError(`${name} is not JSON; ${AGAIN}.`);
  return value;
}

function checkFormat(format, name) {
  if (format === FORMAT) return;
  throw new BundleError(
    format > FORMAT
      ? `${name} has format ${format}, and this page reads format ${FORMAT}; take the page of a newer lilliput.`
      : `${name} does not say format ${FORMAT}; ${AGAIN}.`,
  );
}

function checkConfig(config) {
  checkFormat(config.format, "config.json");
  const { kind, positions } = config;
  if (!KINDS.includes(kind)) {
    throw new BundleError(`config.json has the kind '${kind}'; this page knows ${KINDS.join(", ")}.`);
  }
  const needed = { classes: ["classification", "joint"], tags: ["tagging", "joint"] };
  for (const [list, kinds] of Object.entries(needed)) {
    const names = config[list];
    const whole = Array.isArray(names) && names.every((name) => typeof name === "string");
    if (!whole || new Set(names).size !== names.length || names.length > 0 !== kinds.includes(kind)) {
      throw new BundleError(`config.json does not list the ${list} as the kind ${kind} needs it; ${AGAIN}.`);
    }
  }
  if (!Number.isSafeInteger(positions) || positions < 3) {
    throw new BundleError(`config.json gives the positions ${positions}, expected is a whole number of 3 or more.`);
  }
}
