/** Files of documents are read as Python reads them, refused with a sentence, and ranked. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import { documentsOf, groups, isDocuments, readDocuments } from "../src/documents.js";
import { BundleError } from "../src/errors.js";
import { Index, largest, unit } from "../src/ranking.js";
import { rowsOf } from "../src/separated.js";

const TABLES = process.env.LILLIPUT_TABLES;
const skip = TABLES ? false : "run by tests/test_web.py";
const read = (name, ...parts) => readDocuments(new File(parts, name));

function refuses(promise, pattern) {
  return assert.rejects(promise, (error) => error instanceof BundleError && pattern.test(error.message) && error.message.endsWith("."));
}

test("600 random CSVs have the rows that Python finds, or are refused as there", { skip }, async () => {
  for (const [text, expected] of JSON.parse(await readFile(TABLES, "utf8"))) {
    let found;
    try {
      found = rowsOf(text, "x.csv");
    } catch (error) {
      assert.ok(error instanceof BundleError, text);
      found = [];
    }
    assert.deepEqual(found, expected ?? [], JSON.stringify(text));
  }
});

for (const [what, text, expected] of [
  ["commas, quotes and line ends", 'a,b\n"x, ""y""\nz",2\n', [["a", "b"], ['x, "y"\nz', "2"]]],
  ["semicolons, and no end", "a;b\r\n1,5;2", [["a", "b"], ["1,5", "2"]]],
  ["tabs, and empty lines", "a\tb\n\n\n1\t2\n", [["a", "b"], ["1", "2"]]],
  ["a separator in a quoted name", '"a;b",c\n1,2', [["a;b", "c"], ["1", "2"]]],
  ["line ends of old", "a,b\r1,2\r", [["a", "b"], ["1", "2"]]],
]) {
  test(`a CSV with ${what}`, () => assert.deepEqual(rowsOf(text, "x.csv"), expected));
}

test("a text file has a document in each line, and the last line may end", async () => {
  const { columns, chosen } = await read("x.txt", "\ufeffone, \"two\"\r\n\r\nthree\n");
  assert.deepEqual(columns, [{ name: "", texts: ['one, "two"', "", "three"] }]);
  assert.deepEqual(documentsOf({ name: "x.txt", columns }, chosen, 384), { texts: ['one, "two"', "three"], empty: 1 });
});

test("of a CSV the column with the most letters is chosen, and any other can be", async () => {
  const table = await read("x.CSV", "id, title ,\n1000000000000,a film,\n20000000000000,,x\n");
  assert.deepEqual(table.columns.map(({ name }) => name), ["id", "title", "column 3"]);
  assert.equal(table.chosen, 1);
  assert.deepEqual(documentsOf(table, 1, 8), { texts: ["a film"], empty: 1 });
  assert.deepEqual(documentsOf(table, 0, 8).texts, ["1000000000000", "20000000000000"]);
});

for (const [what, name, content, pattern] of [
  ["that is empty", "x.txt", " \n", /x\.txt is empty/],
  ["of marks alone", "x.txt", "!!\n??", /x\.txt has no words/],
  ["of another code", "x.txt", new Uint8Array([0x66, 0xfc, 0x72]), /is not text in UTF-8/],
  ["of bytes", "x.csv", new Uint8Array([97, 0, 98]), /is not text in UTF-8/],
  ["with tabs by its name", "x.tsv", "a\tb", /x\.tsv is neither a text file nor a CSV/],
  ["with a header alone", "x.csv", "a,b\n", /x\.csv has no rows below its header/],
  ["without a column of text", "x.csv", "a,b\n1,2\n", /No column of x\.csv has text \(it has a, b\)/],
  ["with a row too short", "x.csv", 'a,b\n"1\n2",2\n3', /Line 4 of x\.csv has 1 fields, expected are 2/],
  ["with a quote that is open", "x.csv", 'a,b\n1,"2\n3', /that begins in line 2 of x\.csv is malformed/],
  ["with text after a quote", "x.csv", 'a,b\n1,"2"3\n', /fields separated by ","/],
]) {
  test(`a file ${what} is refused`, () => refuses(read(name, content), pattern));
}

test("what takes too much memory is refused, with the limit", async () => {
  await refuses(readDocuments({ name: "x.txt", size: 2 ** 26 + 1 }), /x\.txt has 67\.1 MB; this page reads at most 67\.1 MB/);
  const columns = [{ name: "", texts: Array(50_001).fill("a") }];
  assert.throws(() => documentsOf({ name: "x.txt", columns }, 0, 384), /50,001 documents; .* at most 50,000, .* take 76\.8 MB/);
  assert.throws(() => documentsOf({ name: "x.txt", columns }, 0, 4096), /at most 16,384, .* 4,096 numbers take 268 MB/);
  assert.throws(() => documentsOf({ name: "x.csv", columns: [{ name: "b", texts: [" "] }] }, 0, 8), /column b of x\.csv has no text/);
});

test("a file that cannot be read is refused", () => {
  const file = { name: "x.txt", size: 1, arrayBuffer: () => Promise.reject(new Error("it is gone")) };
  return refuses(readDocuments(file), /x\.txt cannot be read \(it is gone\)/);
});

test("documents are told from bundles by their names", () => {
  assert.deepEqual(["a.txt", "b.CSV", "c.tsv", "model.onnx", "txt"].map((name) => isDocuments({ name })), [true, true, true, false, false]);
});

test("documents of like length are embedded together, each once", () => {
  const texts = Array.from({ length: 500 }, (_, place) => "x".repeat((place * 37) % 301));
  const found = [...groups([...texts, "y".repeat(10_000)])];
  const lengths = found.flat().map((place) => texts[place]?.length ?? 10_000);
  assert.deepEqual(lengths, lengths.toSorted((a, b) => a - b));
  assert.deepEqual(found.flat().toSorted((a, b) => a - b), [...Array(501).keys()]);
  assert.deepEqual(found.at(-1), [500]);
  for (const group of found.slice(0, -1)) {
    assert.ok(group.length <= 64 && group.reduce((sum, place) => sum + texts[place].length, 0) <= 4096);
  }
});

test("documents are ranked by cosine, the best first, of equal ones the first, and none without a vector", () => {
  const index = new Index(5, 2);
  [[0, 3], [5, 0], [-2, 0], [0, 0.5]].forEach((vector, place) => index.put(place, Float32Array.from(vector)));
  const found = index.best(Float32Array.from([0.1, 10]), 9);
  assert.deepEqual(found.map(({ place }) => place), [0, 3, 1, 2]);
  const cosine = 10 / Math.hypot(0.1, 10);
  for (const [at, score] of [cosine, cosine, 0.01 * cosine, -0.01 * cosine].entries()) assert.ok(Math.abs(found[at].score - score) < 1e-6);
  assert.deepEqual(index.best(Float32Array.from([1, 0]), 2).map(({ place }) => place), [1, 0]);
  assert.deepEqual(unit(Float32Array.from([0, 0])), Float32Array.from([0, 0]));
});

test("the largest of few and of many", () => {
  const values = Float64Array.from({ length: 200 }, (_, at) => (at * 83) % 50);
  const all = largest(values, Infinity);
  assert.deepEqual(all, [...values.keys()].sort((a, b) => values[b] - values[a] || a - b));
  assert.deepEqual(largest(values, 50), all.slice(0, 50));
});
