/** Bundles that are missing a file, altered or of another format are refused with a sentence. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { test } from "node:test";

import * as ort from "onnxruntime-web/wasm";

import { readBundle } from "../src/bundle.js";
import { BundleError } from "../src/errors.js";
import { openModel } from "../src/model.js";
import { readFolder } from "./folder.mjs";

const BUNDLES = process.env.LILLIPUT_BUNDLES;
const skip = BUNDLES ? false : "run by tests/test_web.py, which makes the bundles";
ort.env.wasm.numThreads = 1;

/** Returns the files of a bundle with some replaced, or removed where null, and a manifest that fits them. */
async function changed(kind, changes) {
  const files = await readFolder(join(BUNDLES, "float32", kind));
  const manifest = JSON.parse(await files.get("manifest.json").text());
  for (const [name, change] of Object.entries(changes)) {
    const content = typeof change === "function" ? change(await files.get(name).text()) : change;
    files.set(name, new Blob([content]));
    const bytes = Buffer.from(content);
    manifest.files[name] = { bytes: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex") };
  }
  return files.set("manifest.json", new Blob([JSON.stringify(manifest)]));
}

const setting = (change) => (text) => JSON.stringify({ ...JSON.parse(text), ...change });

async function refused(files, pattern) {
  await assert.rejects(
    async () => openModel(await readBundle(files), ort),
    (error) => error instanceof BundleError && pattern.test(error.message) && error.message.endsWith("."),
  );
}

const FILES = {
  "without a manifest": [(files) => files.delete("manifest.json"), /No manifest\.json is among the files/],
  "without a model": [(files) => files.delete("model.onnx"), /lacks model\.onnx/],
  "with a model cut short": [(files) => files.set("model.onnx", files.get("model.onnx").slice(0, 99)), /has 99 bytes/],
  "with an altered tokenizer": [
    (files) => files.set("tokenizer.json", new Blob(["x".repeat(files.get("tokenizer.json").size)])),
    /tokenizer\.json was altered/,
  ],
  "with an altered card": [
    (files) => files.set("README.md", new Blob(["x".repeat(files.get("README.md").size)])),
    /README\.md was altered/,
  ],
  "with a manifest that is no JSON": [(files) => files.set("manifest.json", new Blob(["{"])), /manifest\.json is not JSON/],
  "with a manifest of a newer format": [
    (files) => files.set("manifest.json", new Blob(['{"format": 2}'])),
    /manifest\.json has format 2.*newer lilliput/,
  ],
  "with a manifest without digests": [
    (files) => files.set("manifest.json", new Blob(['{"format": 1, "files": {"model.onnx": {"bytes": 1}}}'])),
    /no size and sha256 digest of model\.onnx/,
  ],
};

for (const [what, [change, pattern]] of Object.entries(FILES)) {
  test(`a bundle ${what}`, { skip }, async () => {
    const files = await readFolder(join(BUNDLES, "float32", "tagging"));
    change(files);
    await refused(files, pattern);
  });
}

const CONTENTS = {
  "of a newer format": [{ "config.json": setting({ format: 2 }) }, /config\.json has format 2/],
  "of an unknown kind": [{ "config.json": setting({ kind: "translation" }) }, /the kind 'translation'/],
  "without tags": [{ "config.json": setting({ tags: [] }) }, /does not list the tags/],
  "with a tag twice": [{ "config.json": setting({ tags: ["O", "O"] }) }, /does not list the tags/],
  "with too many tags": [{ "config.json": setting({ tags: ["a", "b", "c", "d", "e", "f"] }) }, /2 x 5 .* need 6 in a row/],
  "without positions": [{ "config.json": setting({ positions: null }) }, /gives the positions null/],
  "whose model is none": [{ "model.onnx": "no model" }, /model\.onnx cannot be run/],
  "whose tokenizer is of another kind": [{ "tokenizer.json": setting({ pre_tokenizer: null }) }, /not a BERT tokenizer/],
  "whose tokenizer is not JSON": [{ "tokenizer.json": "[" }, /tokenizer\.json is not JSON/],
};

for (const [what, [changes, pattern]] of Object.entries(CONTENTS)) {
  test(`a bundle ${what}`, { skip }, async () => refused(await changed("tagging", changes), pattern));
}

test("a bundle needs no card", { skip }, async () => {
  const files = await readFolder(join(BUNDLES, "float32", "tagging"));
  files.delete("README.md");
  const { sizes } = await readBundle(files);
  assert.deepEqual(sizes.map(([name]) => name).sort(), [
    "README.md", "config.json", "manifest.json", "model.onnx", "tokenizer.json",
  ]);
});

test("tags are joined as in Python", () => {
  const tags = ["I-a", "I-a", "O", "B-a", "B-a", "I-b", "NOUN", "NOUN", "I-UN"];
  const words = tags.map((tag, at) => ({ start: at, end: at + 1, tag, probability: 1 - at / 10 }));
  assert.deepEqual(joinTags(words), [
    { name: "a", start: 0, end: 2, probability: 0.9 },
    { name: "a", start: 3, end: 4, probability: 0.7 },
    { name: "a", start: 4, end: 5, probability: 0.6 },
    { name: "b", start: 5, end: 6, probability: 0.5 },
    { name: "NOUN", start: 6, end: 7, probability: 0.4 },
    { name: "NOUN", start: 7, end: 8, probability: 1 - 0.7 },
    { name: "UN", start: 8, end: 9, probability: 1 - 0.8 },
  ]);
});
