/** Bundles that are missing a file, altered or of another format are refused with a sentence. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { test } from "node:test";

import * as ort from "onnxruntime-web/wasm";

import { readBundle } from "../src/bundle.js";
import { BundleError } from "../src/errors.js";
import { openModel } from "../src/model.js";
import { Pieces } from "../src/pieces.js";
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
  "with a manifest that is no JSON": [(files) => files.set("manifest.json", new Blob(["{"])), /manifest\.json is not JSON/],
  "with a manifest of a newer format": [
    (files) => files.set("manifest.json", new Blob(['{"format": 5}'])),
    /manifest\.json has format 5.*newer lilliput/,
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

/** Returns what changes some parts of a tokenizer.json, each by a function. */
const part = (changes) => (text) => {
  const layout = JSON.parse(text);
  for (const [name, change] of Object.entries(changes)) layout[name] = change(layout[name], layout);
  return JSON.stringify(layout);
};
const tokenizer = (changes, pattern) => [{ "tokenizer.json": part(changes) }, pattern];
const typed = (type) => () => ({ type, pattern: { Regex: "(a+)+$" }, content: "x", prepend: "_", normalizers: [], pretokenizers: [] });
const entry = (change) => ({ added_tokens: (added) => [...added, { ...added[0], id: 600, content: "<x>", ...change }] });
const settings = (change) => ({ model: (model) => ({ ...model, ...change }) });

const CONTENTS = {
  "of a newer format": [{ "config.json": setting({ format: 5 }) }, /config\.json has format 5/],
  "of an unknown kind": [{ "config.json": setting({ kind: "translation" }) }, /the kind "translation"/],
  "without tags": [{ "config.json": setting({ tags: [] }) }, /does not list the tags/],
  "with a tag twice": [{ "config.json": setting({ tags: ["O", "O"] }) }, /does not list the tags/],
  "with too many tags": [{ "config.json": setting({ tags: ["a", "b", "c", "d", "e", "f"] }) }, /1 x 2 x 5 .* need rows of 6/],
  "without positions": [{ "config.json": setting({ positions: null }) }, /gives the positions null/],
  "with a threshold that is no probability": [{ "config.json": setting({ min_probability: 2 }) }, /gives the min_probability 2/],
  "whose model is none": [{ "model.onnx": "no model" }, /not the graph of a bundle: it is .*no ONNX file/],
  "whose tokenizer is of another kind": [{ "tokenizer.json": setting({ pre_tokenizer: null }) }, /not the BERT tokenizer of a bundle: its pre_tokenizer is none/],
  "whose tokenizer is not JSON": [{ "tokenizer.json": "[" }, /tokenizer\.json is not JSON/],
  "whose tokenizer is a web page": [{ "tokenizer.json": "<!doctype html><p>" }, /is not JSON but a web page/],
  "whose tokenizer is a list": [{ "tokenizer.json": "[]" }, /does not hold a JSON object/],
  "whose tokenizer is nested deeply": [{ "tokenizer.json": '{"a":'.repeat(100_000) }, /nested too deeply/],
  "of nested lists in text": [{ "config.json": `{"a": "${"[".repeat(99)}\\"["}` }, /does not say format 1 or 2/],
  "with a task that is none": [{ "config.json": setting({ task: { toString: 1 } }) }, /the task {"toString":1}, expected is text/],
  "with pairs as text": [{ "config.json": setting({ pairs: "no" }) }, /the pairs "no", expected is true or false/],
  "with pairs of tags": [{ "config.json": setting({ pairs: true }) }, /says pairs/],
  "with a tag without end": [{ "config.json": setting({ tags: ["O", "x".repeat(1001)] }) }, /does not list the tags/],
  "with positions without end": [{ "config.json": setting({ positions: 1e9 }) }, /the positions 1000000000, expected is a whole/],
  "with two positions": [{ "config.json": setting({ positions: 2 }) }, /the positions 2, expected/],
  "with half a position": [{ "config.json": setting({ positions: 3.5 }) }, /the positions 3\.5, expected/],
  "that replaces": tokenizer({ normalizer: typed("Replace") }, /its normalizer is "Replace", expected is BertNormalizer/),
  "that prepends": tokenizer({ normalizer: typed("Prepend") }, /its normalizer is "Prepend"/),
  "with compiled rules": tokenizer({ normalizer: typed("Precompiled") }, /its normalizer is "Precompiled"/),
  "with several normalizers": tokenizer({ normalizer: typed("Sequence") }, /its normalizer is "Sequence"/),
  "that splits": tokenizer({ pre_tokenizer: typed("Split") }, /its pre_tokenizer is "Split", expected is BertPreTokenizer/),
  "that decodes": tokenizer({ decoder: typed("Replace") }, /its decoder is "Replace", expected is WordPiece/),
  "with other pieces": tokenizer(settings({ type: "Unigram" }), /its model is "Unigram", expected is WordPiece/),
  "that ends otherwise": tokenizer({ post_processor: typed("ByteLevel") }, /its post_processor is "ByteLevel"/),
  "without ends": tokenizer({ post_processor: () => null }, /its post_processor is none/),
  "that begins with [SEP]": tokenizer(
    { post_processor: (found) => ({ ...found, cls: found.sep }) },
    /lacks \[CLS\] and \[SEP\] around a text/,
  ),
  "without [UNK]": tokenizer(settings({ vocab: { a: 0 } }), /lacks its piece for unknown words, \[UNK\]/),
  "with another [UNK]": tokenizer(settings({ unk_token: "a" }), /lacks its piece for unknown words/),
  "with an id in billions": tokenizer(settings({ vocab: { "[UNK]": 0, a: 4e9 } }), /an id of its own for each piece/),
  "with an id twice": tokenizer(settings({ vocab: { "[UNK]": 0, a: 0 } }), /an id of its own for each piece/),
  "with ids that are text": tokenizer(settings({ vocab: { "[UNK]": "0" } }), /an id of its own for each piece/),
  "with a vocabulary as a list": tokenizer(settings({ vocab: ["[UNK]"] }), /a vocabulary of pieces and ids/),
  "with words without end": tokenizer(settings({ max_input_chars_per_word: 1e9 }), /a longest word of 1 to 250/),
  "with a piece of nothing": tokenizer(entry({ content: "" }), /the text of an added piece/),
  "with a piece that vanishes": tokenizer(entry({ content: "\u200b", normalized: true }), /its normalizer leaves nothing/),
  "with added pieces without end": tokenizer(
    { added_tokens: (added) => Array.from({ length: 200 }, (_, at) => ({ ...added[0], id: 600 + at, content: `${at}`.padEnd(600) })) },
    /added pieces of at most 100000 characters/,
  ),
  "with an added piece twice": tokenizer(entry({ content: "[PAD]" }), /one added piece "\[PAD\]" in the place of two/),
  "with an added piece elsewhere": tokenizer(entry({ id: 7 }), /the id 600 of the added piece "<x>"/),
  "with an added piece without flags": tokenizer(entry({ lstrip: 1 }), /the flags of the added piece "<x>"/),
};

for (const [what, [changes, pattern]] of Object.entries(CONTENTS)) {
  test(`a bundle ${what}`, { skip }, async () => refused(await changed("tagging", changes), pattern));
}

const MANIFESTS = {
  "that lists too many files": [Object.fromEntries(Array.from({ length: 101 }, (_, at) => [at, 0])), /lists 101 files/],
  "that lists a file elsewhere": [{ "../x": { bytes: 1, sha256: "0".repeat(64) } }, /lists "..\/x", which is not the name/],
  "that lists gigabytes": [{ "model.onnx": { bytes: 4e9, sha256: "0".repeat(64) } }, /model\.onnx has 4000000000 bytes; this page/],
  "that lists less than nothing": [{ "model.onnx": { bytes: -1, sha256: "0".repeat(64) } }, /no size and sha256 digest/],
  "that lists nothing": [[], /does not list model\.onnx/],
};

for (const [what, [files, pattern]] of Object.entries(MANIFESTS)) {
  test(`a manifest ${what}`, async () => {
    await refused(new Map([["manifest.json", new Blob([JSON.stringify({ format: 1, files })])]]), pattern);
  });
}

test("a vocabulary of 250,000 pieces, and words of it", () => {
  const vocab = Object.fromEntries(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"].map((piece, id) => [piece, id]));
  for (let id = 6; id < 250_000; id++) vocab[`##${id.toString(36)}`] = id;
  const added = Object.keys(vocab).slice(0, 5).map((content, id) => ({ id, content, special: true }));
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false };
  const pieces = new Pieces({
    added_tokens: added.map((piece) => ({ ...piece, ...flags })),
    normalizer: { type: "BertNormalizer", clean_text: true, handle_chinese_chars: true, strip_accents: null, lowercase: true },
    pre_tokenizer: { type: "BertPreTokenizer" },
    post_processor: { type: "BertProcessing", sep: ["[SEP]", 3], cls: ["[CLS]", 2] },
    model: { vocab, unk_token: "[UNK]", continuing_subword_prefix: "##", max_input_chars_per_word: 100 },
  });
  assert.equal(pieces.names.length, 250_000);
  const begun = performance.now();
  const { ids, words } = pieces.encode("a10 ".repeat(3_000_000), null, 65_536);
  assert.deepEqual([ids.length, words.length, ...ids.slice(0, 3)], [65_536, 32_767, 2, 5, 36]);
  assert.ok(performance.now() - begun < 30_000);
});

test("a card may be edited", { skip }, async () => {
  const files = await readFolder(join(BUNDLES, "float32", "tagging"));
  files.set("README.md", new Blob(["My model"]));
  const { sizes } = await readBundle(files);
  assert.equal(new Map(sizes).get("README.md"), 8);
});

test("a bundle needs no card", { skip }, async () => {
  const files = await readFolder(join(BUNDLES, "float32", "tagging"));
  files.delete("README.md");
  const { sizes } = await readBundle(files);
  assert.deepEqual(sizes.map(([name]) => name).sort(), [
    "README.md", "config.json", "manifest.json", "model.onnx", "tokenizer.json",
  ]);
});
