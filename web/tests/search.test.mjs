/** Documents are searched in Chromium, as people do it; tests/test_web.py builds the page and makes the bundles. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { before, test } from "node:test";

import { paleTexts } from "./contrast.mjs";
import { BUNDLES, skip, visitor } from "./visitor.mjs";

const ENCODER = "bundles/float32/vectors";
const PHONE = { width: 360, height: 740 };
const visit = visitor();
let cases;

before(async () => {
  if (!skip) cases = JSON.parse(await readFile(join(BUNDLES, "float32", "vectors.json"), "utf8"));
});

const $ = (id) => visit.page.locator(`#${id}`);
const file = (name, content) => ({ name, mimeType: "text/plain", buffer: Buffer.from(content) });
const focused = () => visit.page.evaluate(() => document.activeElement.id);
const many = (count) => Array.from({ length: count }, (_, at) => `document number ${at} of a long file`).join("\n");

async function openEncoder() {
  await visit.open(ENCODER);
  await $("search").waitFor();
}

async function choose(name, content) {
  await $("documents").setInputFiles(file(name, content));
  await visit.page.locator("#query:focus").waitFor();
}

/** Types a query; returns what is found for it, texts with their scores. */
async function found(query) {
  const before = await $("found").innerHTML();
  await $("query").fill(query);
  await visit.page.waitForFunction((html) => document.getElementById("found").innerHTML !== html, before);
  const rows = await $("found").locator("li").evaluateAll((items) => items.map(({ children }) => [...children].map((part) => part.textContent)));
  return rows.map(([score, text]) => [text, Number(score)]);
}

function cosine(a, b) {
  const dot = (x, y) => x.reduce((sum, value, at) => sum + value * y[at], 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}

test("a text file is embedded, and ranked by the cosines of Python's vectors; without a network too", { skip }, async () => {
  await openEncoder();
  const texts = cases.map(({ text }) => text);
  await choose("notes.txt", `${texts.join("\n")}\n\n\u200b\n`);
  assert.match(await $("documents-line").textContent(), /^notes\.txt: 5\d documents in \d+\.\d s · 1 empty left out · \d+ longer .* · 1 without words$/);
  assert.match(await $("search-line").textContent(), /no document is shown/);
  const check = async () => {
    const rows = await found(texts[7]);
    const vectors = cases.map(({ expected }) => expected.vectors[0]);
    const best = vectors.map((vector, at) => [texts[at], cosine(vector, vectors[7])]).sort(([, a], [, b]) => b - a);
    assert.equal(rows.length, 10);
    rows.forEach(([text, score], at) => {
      assert.equal(text, best[at][0]);
      assert.ok(Math.abs(score - best[at][1]) < 6e-4);
    });
    assert.match(await $("search-line").textContent(), /^The 10 most alike, by cosine · .* ms · one thread$/);
  };
  await check();
  await found("");
  assert.equal(await $("found").locator("li").count(), 0);
  await $("offline").filter({ hasText: "Works without a network" }).waitFor();
  await $("kept").filter({ hasText: "keeps the bundle" }).waitFor(); // though nothing was compared
  await visit.server.stop();
  await visit.page.reload();
  await $("search").waitFor();
  await choose("notes.txt", texts.join("\n"));
  await check();
});

test("a CSV: the column of text is chosen, another can be; by keyboard alone", { skip }, async () => {
  await openEncoder();
  const chooser = visit.page.waitForEvent("filechooser");
  await $("second").focus();
  await visit.page.keyboard.press("Tab");
  assert.equal(await focused(), "choose-documents");
  await visit.page.keyboard.press("Enter");
  await (await chooser).setFiles(file("films.csv", 'title,plot\nRain,"A man, who ""sings""\nin the rain"\nFog,A ship is lost in it\n'));
  await visit.page.locator("#query:focus").waitFor();
  await visit.page.keyboard.type("A ship is lost in it");
  await visit.page.locator("#search-spoken", { hasText: "2 found. Best, 1.000: A ship" }).waitFor({ state: "attached" });
  assert.deepEqual((await $("found").locator(".text").allTextContents())[1], 'A man, who "sings"\nin the rain');
  await visit.page.keyboard.press("Shift+Tab");
  assert.equal(await focused(), "column");
  assert.equal(await $("column").evaluate((select) => select.labels[0].textContent), "Column of the documents");
  await visit.page.keyboard.press("ArrowUp");
  await visit.page.locator("#found .text", { hasText: "Fog" }).waitFor();
  assert.deepEqual((await $("found").locator(".text").allTextContents()).sort(), ["Fog", "Rain"]);
  assert.equal(await focused(), "column");
});

test("embedding shows how far it is and can be cancelled, and another file can be chosen", { skip }, async () => {
  await openEncoder();
  await choose("before.txt", "one\ntwo");
  await $("documents").setInputFiles(file("long.txt", many(20_000)));
  await visit.page.locator("#reading-label", { hasText: /^[1-9]\S* of 20,000 documents/ }).waitFor();
  assert.ok((await $("progress").evaluate(({ value, max, labels }) => labels.length === 1 && value > 0 && max === 20_000)));
  assert.ok(await $("query").isHidden());
  await $("text").fill("a text"); // is answered in between
  await $("second").fill("another text");
  await visit.answered();
  assert.ok(await $("reading").isVisible());
  await $("stop-reading").click();
  await $("reading").waitFor({ state: "hidden" });
  assert.match(await $("documents-line").textContent(), /^Cancelled\. There is nothing to search/);
  assert.equal(await focused(), "choose-documents");
  await choose("after.txt", "three\nfour");
  assert.deepEqual((await found("four")).map(([text]) => text), ["four", "three"]);
});

test("files that cannot be searched are refused with a sentence, and the documents before stay", { skip }, async () => {
  await openEncoder();
  const refused = async (name, content, pattern) => {
    await $("documents").setInputFiles(file(name, content));
    await visit.page.locator("#search-problem", { hasText: pattern }).waitFor();
  };
  await refused("none.txt", "", "none.txt is empty");
  await refused("marks.csv", "a,b\n1,2\n", "No column of marks.csv has text");
  await refused("much.txt", "a\n".repeat(50_001), "at most 50,000, whose vectors of 40 numbers take 8.00 MB of memory");
  await choose("good.txt", "one\ntwo");
  await refused("none.txt", " ", "none.txt is empty");
  assert.deepEqual((await found("two"))[0], ["two", 1]);
  assert.equal(await $("search-problem").textContent(), "");
  await $("query").fill("\u200b");
  await visit.page.locator("#search-line", { hasText: "There are no words in this query" }).waitFor();
});

test("a file that is dropped is searched, or said to need a bundle that gives vectors", { skip }, async () => {
  const drop = () =>
    visit.page.evaluate(() => {
      const transfer = new DataTransfer();
      transfer.items.add(new File(["<b>one</b>\ntwo"], "notes.txt"));
      document.body.dispatchEvent(new DragEvent("drop", { bubbles: true, dataTransfer: transfer }));
    });
  await visit.page.goto(visit.server.address);
  await $("choose").waitFor();
  await drop();
  await visit.problem("notes.txt is searched by vectors: open a bundle of a sentence encoder first.");
  await visit.open("bundles/float32/tagging");
  await $("bundle").waitFor();
  assert.ok(await $("search").isHidden());
  await drop();
  await visit.problem("notes.txt is searched by vectors: this bundle gives none; open a bundle");
  await openEncoder();
  await drop();
  await visit.page.locator("#query:focus").waitFor();
  assert.deepEqual((await found("two")).map(([text]) => text), ["two", "<b>one</b>"]);
  assert.equal(await $("found").locator("b").count(), 0);
  await visit.page.locator("#folder").setInputFiles(join(BUNDLES, "float32", "encode"));
  await visit.page.locator("#bundle-title", { hasText: "encode" }).waitFor();
  await $("query-field").waitFor({ state: "hidden" }); // those vectors are of another space
});

test("search on a phone: readable in light and dark, and nothing beside the screen", { skip }, async () => {
  await visit.page.setViewportSize(PHONE);
  await visit.page.emulateMedia({ colorScheme: "light", reducedMotion: "reduce" });
  await openEncoder();
  const long = "Donaudampfschifffahrtsgesellschaft".repeat(9);
  await choose("a_file_with_a_long_name_that_has_no_place_to_break.csv", `${long},b\n${cases.map(({ text }) => `"${text.replaceAll('"', "")}",1`).join("\n")}\n${long},2`);
  await found("Donau");
  for (const colorScheme of ["light", "dark"]) {
    await visit.page.emulateMedia({ colorScheme });
    assert.deepEqual(await visit.page.evaluate(paleTexts), []);
    await visit.page.screenshot({ path: join(BUNDLES, `search-${colorScheme}.png`), fullPage: true });
  }
  assert.equal(await visit.page.evaluate(() => document.documentElement.scrollWidth), PHONE.width);
});
