/** Texts have the same words and pieces as in Python, and tags make the same slots. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";

import { normalizer, wordsOf } from "../src/bert.js";
import { Pieces } from "../src/pieces.js";
import { joinTags, lettersOf } from "../src/tags.js";

const PIECES = process.env.LILLIPUT_PIECES;
const skip = PIECES ? false : "run by tests/test_web.py";
const SETTINGS = { clean_text: "cleans", handle_chinese_chars: "pads", strip_accents: "strips", lowercase: "lowers" };
const CASES = JSON.parse(await readFile(join(import.meta.dirname, "..", "..", "tests", "tags.json"), "utf8"));

test("words and pieces of odd texts", { skip }, async () => {
  for (const { tokenizer, texts } of JSON.parse(await readFile(PIECES, "utf8")).cases) {
    const pieces = new Pieces(tokenizer);
    for (const [text, expected] of texts) {
      const words = pieces.words(text).map(({ start, end, ids }) => [text.slice(start, end), ids]);
      assert.deepEqual(words, expected, JSON.stringify([text, tokenizer.normalizer, tokenizer.added_tokens.slice(5)]));
    }
  }
});

test("every character", { skip }, async () => {
  const { characters } = JSON.parse(await readFile(PIECES, "utf8"));
  const differing = (makes, found, usual) => {
    const wrong = [];
    for (let code = 0; code < 0x110000; code++) {
      if (code >= 0xd800 && code < 0xe000) continue;
      const character = String.fromCodePoint(code);
      if (makes(character) !== (found[code] ?? usual(character))) wrong.push(code.toString(16));
    }
    return wrong;
  };
  for (const [setting, name] of Object.entries(SETTINGS)) {
    const normal = normalizer({ cleans: false, pads: false, strips: false, lowers: false, [name]: true });
    const wrong = differing((character) => `a${normal(character)}b`, characters[setting], (character) => `a${character}b`);
    assert.deepEqual(wrong, [], setting);
  }
  assert.deepEqual(differing((character) => wordsOf(`a${character}b`).length, characters.words, () => 1), []);
});

for (const { case: what, tags, text, words, slots } of CASES) {
  test(`tags: ${what}`, () => {
    const unit = (character) => Array.from(text).slice(0, character).join("").length; // Python counts characters
    const given = words.map(([start, end, tag, probability]) => ({ start: unit(start), end: unit(end), tag, probability }));
    const expected = slots.map(([name, start, end, probability]) => ({ name, start: unit(start), end: unit(end), probability }));
    assert.deepEqual(joinTags(given, lettersOf(tags)), expected);
  });
}
