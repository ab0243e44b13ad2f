/** Every kind of bundle answers as Python did; tests/test_web.py makes the bundles and says where they are. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";

import { Tokenizer } from "@huggingface/tokenizers";
import * as ort from "onnxruntime-web/wasm";

import { openModel } from "../src/model.js";
import { readFolder } from "./folder.mjs";
import { readBundle } from "../src/bundle.js";

const BUNDLES = process.env.LILLIPUT_BUNDLES;
const skip = BUNDLES ? false : "run by tests/test_web.py, which makes the bundles";
const KINDS = ["classification", "pairs", "regression", "tagging", "joint", "fill", "encode"];
ort.env.wasm.numThreads = 1;

let worst = 0;

function near(found, expected, what) {
  const difference = Math.abs(found - expected);
  worst = Math.max(worst, difference);
  assert.ok(difference <= 1e-4, `${what}: ${found} is not ${expected}`);
}

function named(list, key) {
  return Object.fromEntries(list.map((entry) => [entry[key], entry.probability]));
}

function compare(answer, expected, text) {
  if (expected.ids) assert.equal(answer.pieces, expected.ids.length, text);
  if ("score" in expected) near(answer.score, expected.score, text);
  if (expected.classes) nearAll(named(answer.classes, "name"), expected.classes, text);
  if (expected.guesses) nearAll(named(answer.masks[0].guesses, "piece"), expected.guesses, text);
  if (expected.words) {
    const words = answer.words.map(({ start, end, tag }) => ({ text: text.slice(start, end), tag }));
    assert.deepEqual(words, expected.words.map((word) => ({ text: word.text, tag: word.tag })), text);
    expected.words.forEach((word, index) => near(answer.words[index].probability, word.probability, text));
  }
  if (expected.vectors) nearAll(answer.vectors.flatMap((vector) => [...vector]), expected.vectors.flat(), text);
}

function nearAll(found, expected, what) {
  assert.deepEqual(Object.keys(found).sort(), Object.keys(expected).sort(), what);
  for (const key of Object.keys(expected)) near(found[key], expected[key], `${what} (${key})`);
}

async function open(folder) {
  return openModel(await readBundle(await readFolder(folder)), { ort, Tokenizer });
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

for (const kind of KINDS) {
  test(`${kind}: 50 sentences`, { skip }, async (context) => {
    worst = 0;
    for (const [answer, expected, text] of await answered("float32", kind)) compare(answer, expected, text);
    context.diagnostic(`largest difference ${worst.toExponential(1)}`);
  });

  // Activations are rounded to 8 bits at run time, so that a difference in the seventh digit can become one step.
  test(`${kind}, int8: 50 sentences, of which a few may be rounded otherwise`, { skip }, async (context) => {
    const others = (await answered("int8", kind)).filter(([answer, expected, text]) => {
      try {
        compare(answer, expected, text);
      } catch {
        return true;
      }
      return false;
    });
    context.diagnostic(`${others.length} of 50 differ by more than 1e-4`);
    assert.ok(others.length <= 10, others.map(([, , text]) => text).join("\n"));
  });
}
