/** The page with bundles that mean no good: it says so, ends them and stays usable. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { before, test } from "node:test";

import { writeChanged } from "./browser.mjs";
import { BUNDLES, skip, visitor } from "./visitor.mjs";

const GOOD = "bundles/float32/encode";
const LONG = "one text of many words ".repeat(20);
const visit = visitor();

before(async () => {
  if (skip) return;
  const graph = (name) => readFile(join(BUNDLES, "graphs", `${name}.onnx`));
  const write = (kind, name, changes) => writeChanged(join(BUNDLES, "float32", kind), join(BUNDLES, "made", name), changes);
  const set = (change) => (text) => JSON.stringify({ ...JSON.parse(text), ...change });
  for (const name of ["slow_to_open", "slow_to_answer", "not_a_number", "loop", "outside", "foreign", "scattered", "huge"]) {
    await write("encode", name, { "model.onnx": await graph(name) });
  }
  const classes = Array.from({ length: 5000 }, (_, at) => `<img src=x onerror=alert(${at})>\n\u202e\u001b[31m`);
  await write("classification", "many_classes", {
    "model.onnx": await graph("many_classes"),
    "config.json": set({ classes, task: "<b>\u0007".repeat(50) }),
  });
  await write("fill", "large_vocabulary", {
    "model.onnx": await graph("large_vocabulary"),
    "tokenizer.json": (text) => {
      const layout = JSON.parse(text);
      for (let id = 600; id < 250_000; id++) layout.model.vocab[`##<${id}`] = id;
      return JSON.stringify(layout);
    },
  });
});

async function longestBlock() {
  return visit.page.evaluate(async () => {
    let longest = 0;
    for (let step = 0, before = performance.now(); step < 20; step++) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      longest = Math.max(longest, performance.now() - before);
      before = performance.now();
    }
    return longest;
  });
}

test("a bundle that does not end opening is given up, is not kept, and another one opens", { skip }, async () => {
  await visit.page.clock.install();
  await visit.open("bundles/made/slow_to_open");
  await visit.page.locator("#stop-opening").waitFor();
  await new Promise((resolve) => setTimeout(resolve, 4000)); // until its worker computes
  assert.ok((await longestBlock()) < 2000); // of a shared processor; a frozen page would not answer at all
  await visit.page.clock.fastForward(61_000);
  await visit.problem("The bundle was not open after a minute");
  await visit.choose("classification", "a text");
  assert.equal(await visit.page.locator("#problem").textContent(), "");
  assert.equal(await visit.opensWith(), "films");
});

test("opening is cancelled, and so is what is dropped on it", { skip }, async () => {
  await visit.page.goto(visit.server.address);
  await visit.choose("classification", "a text");
  await visit.page.locator("#change").click();
  await visit.page.locator("#folder").setInputFiles(join(BUNDLES, "made", "slow_to_open"));
  await visit.page.locator("#stop-opening").click();
  await visit.page.locator("#opening").waitFor({ state: "hidden" });
  await visit.ask("another text");
  await visit.page.locator("#back").click();
  await visit.answered();
  assert.equal(await visit.page.locator("#bundle-title").textContent(), "films");
});

test("an answer that does not come is given up, dropped or cancelled; the next text has one", { skip }, async () => {
  await visit.page.clock.install();
  await visit.open("bundles/made/slow_to_answer");
  await visit.ask(LONG);
  await visit.page.locator("#stop-computing").waitFor();
  assert.equal(await opensInNewTab(), "");
  await visit.page.clock.fastForward(31_000);
  await visit.problem("There was no answer after half a minute");
  await visit.ask("short");
  await visit.answered();
  await visit.ask(LONG);
  await visit.page.locator("#stop-computing").click();
  await visit.page.locator(".hint", { hasText: "Cancelled" }).waitFor();
  await visit.ask(LONG);
  await visit.page.locator("#computing").waitFor();
  await visit.ask("short again"); // while the long one is computed
  await visit.page.clock.fastForward(31_000);
  await visit.answered();
  assert.match(await visit.page.locator("#time").textContent(), /\b[5-9] pieces|1\d pieces/);
});

async function opensInNewTab() {
  const [tab, other] = [visit.page, await visit.context.newPage()];
  visit.page = other;
  const title = await visit.opensWith();
  await other.close();
  visit.page = tab;
  return title;
}

for (const [name, pattern] of [
  ["loop", 'it has the operator "Loop"'],
  ["outside", "it has constants in another file"],
  ["foreign", 'it has operators of "com.example"'],
  ["scattered", "it has sparse constants"],
  ["huge", /model\.onnx (cannot be run|fails)/],
]) {
  test(`a graph is refused: ${name}`, { skip }, async () => {
    await visit.open(`bundles/made/${name}`);
    await visit.problem(pattern);
    assert.ok(await visit.page.locator("#choose").isVisible());
  });
}

test("scores that are no numbers are no answer, and the next text has one", { skip }, async () => {
  await visit.open("bundles/made/not_a_number");
  await visit.ask("zebra");
  await visit.problem("not finite numbers (NaN)");
  assert.doesNotMatch(await visit.page.locator("#result").textContent(), /NaN/);
  await visit.ask("!", '"');
  await visit.answered();
  assert.equal(await visit.page.locator("#problem").textContent(), "");
});

test("documents whose vectors are no numbers, or do not come, are not searched, and the next ones are", { skip }, async () => {
  const choose = (text) => visit.page.locator("#documents").setInputFiles({ name: "notes.txt", mimeType: "", buffer: Buffer.from(text) });
  await visit.open("bundles/made/not_a_number");
  await visit.page.locator("#search").waitFor();
  await choose("zebra\nzoo");
  await visit.page.locator("#search-problem", { hasText: "not finite numbers (NaN)" }).waitFor();
  await visit.page.clock.install();
  await visit.open("bundles/made/slow_to_answer");
  await visit.page.locator("#search").waitFor();
  await choose(LONG);
  await visit.page.locator("#reading").waitFor();
  await visit.page.clock.fastForward(31_000);
  await visit.page.locator("#search-problem", { hasText: "There was no answer after half a minute" }).waitFor();
  await choose("short");
  await visit.page.locator("#query:focus").waitFor();
});

test("a text without words", { skip }, async () => {
  await visit.open(GOOD);
  await visit.ask("\u200b");
  await visit.problem("There are no words in this text");
});

test("thousands of classes with names that are markup and control characters", { skip }, async () => {
  await visit.open("bundles/made/many_classes");
  await visit.ask("a text");
  await visit.answered();
  assert.equal(await visit.page.locator("#answer img, #bundle b").count(), 0);
  assert.match(await visit.page.locator(".bars .name").first().textContent(), /^<img src=x onerror=alert\(\d+\)>\\u\{a\}\\u\{202e\}\\u\{1b\}\[31m$/);
  assert.equal(await visit.page.locator(".bars .rest").textContent(), "and 4,995 less probable");
  assert.match(await visit.page.locator("#bundle-title").textContent(), /^<b>\\u\{7\}.* …$/);
});

test("a vocabulary of 250,000 pieces", { skip }, async () => {
  await visit.open("bundles/made/large_vocabulary");
  await visit.ask("[MASK] ".repeat(150));
  await visit.answered();
  assert.ok((await visit.page.locator("*").count()) < 2500);
  assert.equal(await visit.page.locator("#problem").textContent(), "");
});

test("a link's bundle does not take the place of one's own, nor does one that has not answered", { skip }, async () => {
  await visit.page.goto(visit.server.address);
  await visit.choose("classification", "a text");
  await visit.open(GOOD);
  await visit.ask("one");
  await visit.answered();
  await visit.page.locator("#folder").setInputFiles(join(BUNDLES, "float32", "fill"));
  await visit.page.locator("#mask").waitFor(); // it is open, and has a text without [MASK]
  assert.equal(await visit.opensWith(), "films");
  await visit.open(GOOD);
  await visit.forget();
  assert.equal(await visit.opensWith(), "films");
});

test("a kept bundle that has become damaged is named, and forgotten", { skip }, async () => {
  await visit.page.goto(visit.server.address);
  await visit.choose("classification", "a text");
  await visit.page.evaluate(async () => {
    for (const name of await caches.keys()) {
      const cache = await caches.open(name);
      const kept = (await cache.keys()).filter(({ url }) => url.endsWith("/config.json") && url.includes("kept-bundle"));
      for (const request of kept) await cache.put(request, new Response("{}"));
    }
  });
  assert.equal(await visit.opensWith(), "");
  await visit.problem("config.json has 2 bytes, but");
  await visit.problem("The page no longer keeps it.");
  assert.equal(await visit.opensWith(), "");
  assert.equal(await visit.page.locator("#problem").textContent(), "");
});

test("pages of two paths keep their own files and bundles", { skip }, async () => {
  const offline = () => visit.page.locator("#offline", { hasText: "Works without a network" }).waitFor();
  await visit.page.goto(`${visit.server.address}a/`);
  await visit.choose("classification", "a text");
  await offline();
  await visit.page.goto(`${visit.server.address}b/`);
  await visit.choose("regression", "a text", "another");
  await offline();
  assert.equal(await visit.opensWith("a/"), "films");
  assert.equal(await visit.opensWith("b/"), "likeness");
  await visit.forget();
  assert.equal(await visit.opensWith("b/"), "");
  await visit.server.stop();
  assert.equal(await visit.opensWith("a/"), "films");
  assert.equal(await visit.opensWith("b/"), "");
});
