/** Every kind of bundle answers as Python did; tests/test_web.py makes the bundles and says where they are. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";

import * as ort from "onnxruntime-web/wasm";

import { openModel } from "../src/model.js";
import { readFolder } from "./folder.mjs";
import { readBundle } from "../src/bundle.js";

const BUNDLES = process.env.LILLIPUT_BUNDLES;
const skip = BUNDLES ? false : "run by tests/test_web.py, which makes the bundles";
const KINDS = ["classification", "multilabel", "pairs", "regression", "tagging", "joint", "fill", "encode", "vectors"];
ort.env.wasm.numThreads = 1;

const LEAST = 0.6; // the least probability of a class in two of the bundles
const seen = { unknown: 0, unsure: 0 }; // answers

let worst = 0;

/** Numbers that differ in their last digit may be rounded to different integers, which all later layers see. */
let bound = 1e-5;

function near(found, expected, what) {
  const difference = Math.abs(found - expected);
  worst = Math.max(worst, difference);
  assert.ok(difference <= bound, `${what}: ${found} is not ${expected}`);
}

function named(list, key) {
  return Object.fromEntries(list.map((entry) => [entry[key], entry.probability]));
}

/** Compares an answer of the page with one of `lilliput run --json`; places are compared by the text there. */
function compare(answer, expected, text) {
  assert.equal(answer.cut, expected.cut, text);
  assert.equal(answer.unknown, expected.unknown, text);
  seen.unknown += answer.unknown > 0;
  if (expected.vectors) return nearAll(answer.vectors.flatMap((vector) => [...vector]), expected.vectors.flat(), text);
  assert.equal(answer.pieces, expected.pieces, text);
  const classes = expected.probabilities ?? expected.classification?.probabilities;
  if ("value" in expected) near(answer.score, expected.value, text);
  if (classes) nearAll(named(answer.labels ?? answer.classes, "name"), classes, text);
  if (expected.labels) {
    const said = answer.labels.filter(({ probability }) => probability >= 0.5);
    assert.deepEqual(said.map(({ name }) => name).sort(), expected.labels.toSorted(), text);
  } else if (classes && Math.abs(answer.classes[0].probability - LEAST) > bound) {
    assert.equal(answer.unsure, (expected.classification ?? expected).label === null, text);
    seen.unsure += answer.unsure;
  }
  if (expected.guesses) nearGuesses(named(answer.masks[0].guesses, "piece"), named(expected.guesses[0], "piece"), text);
  if (expected.words) {
    compareParts(answer.words, expected.words, "tag", text);
    compareParts(answer.slots, expected.slots, "name", text);
  }
}

function compareParts(found, expected, key, text) {
  const parts = found.map((part) => [text.slice(part.start, part.end), part[key]]);
  assert.deepEqual(parts, expected.map((part) => [part.text, part[key]]), text);
  expected.forEach((part, index) => near(found[index].probability, part.probability, text));
}

function nearAll(found, expected, what) {
  assert.deepEqual(Object.keys(found).sort(), Object.keys(expected).sort(), what);
  for (const key of Object.keys(expected)) near(found[key], expected[key], `${what} (${key})`);
}

/** Compares the likeliest pieces; one that is as likely as the last of them may stand in for it. */
function nearGuesses(found, expected, what) {
  assert.equal(Object.keys(found).length, Object.keys(expected).length, what);
  const least = Math.min(...Object.values(found));
  for (const [piece, probability] of Object.entries(expected)) near(found[piece] ?? least, probability, `${what} (${piece})`);
}

async function open(folder) {
  return openModel(await readBundle(await readFolder(folder)), ort);
}

async function answered(quantization, kind) {
  const model = await open(join(BUNDLES, quantization, kind));
  const cases = JSON.parse(await readFile(join(BUNDLES, quantization, `${kind}.json`), "utf8"));
  assert.equal(cases.length, 50);
  const pairs = [];
  for (const { text, second, expected } of cases) pairs.push([await model.answer(text, second), expected, text]);
  await model.close();
  return pairs;
}

for (const kind of ["encode", "vectors"]) {
  for (const [quantization, most] of [["float32", 1e-5], ["int8", 1e-5], ["integers", 0.02]]) {
    test(`${kind}, ${quantization}: many texts together have the vectors of Bundle.encode`, { skip }, async () => {
      bound = most;
      const model = await open(join(BUNDLES, quantization, kind));
      const cases = JSON.parse(await readFile(join(BUNDLES, quantization, `${kind}.json`), "utf8"));
      const texts = ["\u200b", ...cases.map(({ text }) => text)];
      const { vectors, cut, wordless } = await model.encode(texts);
      await model.close();
      assert.deepEqual(wordless, [0]);
      assert.ok(vectors[0].every((value) => value === 0));
      cases.forEach(({ text, expected }, at) => nearAll([...vectors[at + 1]], expected.vectors[0], text));
      const isCut = (at) => cut.includes(1 + (at % cases.length));
      cases.forEach(({ expected }, at) => assert.equal(isCut(at) || isCut(at + 1), expected.cut)); // of two texts each
    });
  }
}

for (const quantization of ["float32", "int8", "mixed", "integers"]) {
  for (const kind of KINDS) {
    test(`${kind}, ${quantization}: 50 sentences`, { skip }, async (context) => {
      worst = 0;
      bound = quantization === "integers" ? 0.02 : 1e-5;
      for (const [answer, expected, text] of await answered(quantization, kind)) compare(answer, expected, text);
      context.diagnostic(`largest difference ${worst.toExponential(1)}`);
    });
  }
}

test("some words were unknown, and some answers unsure", { skip }, async () => {
  assert.ok(seen.unknown > 100 && seen.unsure > 20, JSON.stringify(seen));
});
