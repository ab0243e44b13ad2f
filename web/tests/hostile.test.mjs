/** The page with bundles, servers and browsers that mean no good: it says so and stays usable. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, beforeEach, afterEach, test } from "node:test";

import { launch, serve, writeChanged } from "./browser.mjs";

const BUNDLES = process.env.LILLIPUT_BUNDLES;
const skip = BUNDLES ? false : "run by tests/test_web.py, which makes the bundles";
const DIST = process.env.LILLIPUT_DIST ?? join(import.meta.dirname, "..", "dist");
const GOOD = "bundles/float32/encode";
const LONG = "one text of many words ".repeat(20);
const HTML = "<!doctype html><title>Sign in</title>";

let browser;
let server;
let context;
let page;

before(async () => {
  if (skip) return;
  browser = await launch();
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

after(() => browser?.close());

beforeEach(async () => {
  if (skip) return;
  server = await serve(DIST, BUNDLES, ODD);
  context = await browser.newContext();
  context.setDefaultTimeout(60_000);
  page = await context.newPage();
});

afterEach(async () => {
  await context?.close();
  await server?.stop();
});

const open = (bundle, path = "") => page.goto(`${server.address}${path}?bundle=${bundle}`);
const problem = (pattern) => page.locator("#problem", { hasText: pattern }).waitFor();
const answered = () => page.locator("#time", { hasText: "ms" }).waitFor();

async function ask(text, second = "another") {
  await page.locator("#text").fill(text);
  if (await page.locator("#second").isVisible()) await page.locator("#second").fill(second);
}

/** Chooses a bundle of this device and asks it something. */
async function choose(kind, ...texts) {
  await page.locator("#folder").setInputFiles(join(BUNDLES, "float32", kind));
  await page.locator("#text:focus").waitFor();
  await ask(...texts);
  await answered();
  await page.locator("#kept", { hasText: "keep" }).waitFor(); // or why not
}

/** Returns the title of the bundle that a page opens by itself; nothing where it asks for one. */
async function opensWith(path = "") {
  await page.goto(`${server.address}${path}`);
  await page.locator("#choose:not([hidden]), #bundle:not([hidden])").waitFor();
  return (await page.locator("#choose").isVisible()) ? "" : page.locator("#bundle-title").textContent();
}

async function longestBlock() {
  return page.evaluate(async () => {
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
  await page.clock.install();
  await open("bundles/made/slow_to_open");
  await page.locator("#stop-opening").waitFor();
  await new Promise((resolve) => setTimeout(resolve, 4000)); // until its worker computes
  assert.ok((await longestBlock()) < 2000); // of a shared processor; a frozen page would not answer at all
  await page.clock.fastForward(61_000);
  await problem("The bundle was not open after a minute");
  await choose("classification", "a text");
  assert.equal(await page.locator("#problem").textContent(), "");
  assert.equal(await opensWith(), "films");
});

test("opening is cancelled, and so is what is dropped on it", { skip }, async () => {
  await page.goto(server.address);
  await choose("classification", "a text");
  await page.locator("#change").click();
  await page.locator("#folder").setInputFiles(join(BUNDLES, "made", "slow_to_open"));
  await page.locator("#stop-opening").click();
  await page.locator("#opening").waitFor({ state: "hidden" });
  await ask("another text");
  await page.locator("#back").click();
  await answered();
  assert.equal(await page.locator("#bundle-title").textContent(), "films");
});

test("an answer that does not come is given up, dropped or cancelled; the next text has one", { skip }, async () => {
  await page.clock.install();
  await open("bundles/made/slow_to_answer");
  await ask(LONG);
  await page.locator("#stop-computing").waitFor();
  assert.equal(await opensInNewTab(), "");
  await page.clock.fastForward(31_000);
  await problem("There was no answer after half a minute");
  await ask("short");
  await answered();
  await ask(LONG);
  await page.locator("#stop-computing").click();
  await page.locator(".hint", { hasText: "Cancelled" }).waitFor();
  await ask(LONG);
  await page.locator("#computing").waitFor();
  await ask("short again"); // while the long one is computed
  await page.clock.fastForward(31_000);
  await answered();
  assert.match(await page.locator("#time").textContent(), /\b[5-9] pieces|1\d pieces/);
});

async function opensInNewTab() {
  const [tab, other] = [page, await context.newPage()];
  page = other;
  const title = await opensWith();
  await other.close();
  page = tab;
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
    await open(`bundles/made/${name}`);
    await problem(pattern);
    assert.ok(await page.locator("#choose").isVisible());
  });
}

test("scores that are no numbers are no answer, and the next text has one", { skip }, async () => {
  await open("bundles/made/not_a_number");
  await ask("zebra");
  await problem("not finite numbers (NaN)");
  assert.doesNotMatch(await page.locator("#result").textContent(), /NaN/);
  await ask("!", '"');
  await answered();
  assert.equal(await page.locator("#problem").textContent(), "");
});

test("a text without words", { skip }, async () => {
  await open(GOOD);
  await ask("\u200b");
  await problem("There are no words in this text");
});

test("thousands of classes with names that are markup and control characters", { skip }, async () => {
  await open("bundles/made/many_classes");
  await ask("a text");
  await answered();
  assert.equal(await page.locator("#answer img, #bundle b").count(), 0);
  assert.match(await page.locator(".bars .name").first().textContent(), /^<img src=x onerror=alert\(\d+\)>\\u\{a\}\\u\{202e\}\\u\{1b\}\[31m$/);
  assert.equal(await page.locator(".bars .rest").textContent(), "and 4,995 less probable");
  assert.match(await page.locator("#bundle-title").textContent(), /^<b>\\u\{7\}.* …$/);
});

test("a vocabulary of 250,000 pieces", { skip }, async () => {
  await open("bundles/made/large_vocabulary");
  await ask("[MASK] ".repeat(150));
  await answered();
  assert.ok((await page.locator("*").count()) < 2500);
  assert.equal(await page.locator("#problem").textContent(), "");
});

test("a link's bundle does not take the place of one's own, nor does one that has not answered", { skip }, async () => {
  await page.goto(server.address);
  await choose("classification", "a text");
  await open(GOOD);
  await ask("one");
  await answered();
  await page.locator("#folder").setInputFiles(join(BUNDLES, "float32", "fill"));
  await page.locator("#mask").waitFor(); // it is open, and has a text without [MASK]
  assert.equal(await opensWith(), "films");
  await open(GOOD);
  await page.locator("#forget").click();
  assert.equal(await opensWith(), "films");
});

test("a kept bundle that has become damaged is named, and forgotten", { skip }, async () => {
  await page.goto(server.address);
  await choose("classification", "a text");
  await page.evaluate(async () => {
    for (const name of await caches.keys()) {
      const cache = await caches.open(name);
      const kept = (await cache.keys()).filter(({ url }) => url.endsWith("/config.json") && url.includes("kept-bundle"));
      for (const request of kept) await cache.put(request, new Response("{}"));
    }
  });
  assert.equal(await opensWith(), "");
  await problem("config.json has 2 bytes, but");
  await problem("The page no longer keeps it.");
  assert.equal(await opensWith(), "");
  assert.equal(await page.locator("#problem").textContent(), "");
});

test("pages of two paths keep their own files and bundles", { skip }, async () => {
  const offline = () => page.locator("#offline", { hasText: "Works without a network" }).waitFor();
  await page.goto(`${server.address}a/`);
  await choose("classification", "a text");
  await offline();
  await page.goto(`${server.address}b/`);
  await choose("regression", "a text", "another");
  await offline();
  assert.equal(await opensWith("a/"), "films");
  assert.equal(await opensWith("b/"), "likeness");
  await page.locator("#forget").click();
  assert.equal(await opensWith("b/"), "");
  await server.stop();
  assert.equal(await opensWith("a/"), "films");
  assert.equal(await opensWith("b/"), "");
});

const answerWith = (status, headers, body = "") => (response) => response.writeHead(status, headers).end(body);
const files = { "model.onnx": 10, "tokenizer.json": 10, "config.json": 10 };
const listed = Object.fromEntries(Object.entries(files).map(([name, bytes]) => [name, { bytes, sha256: "0".repeat(64) }]));
const MANIFEST = answerWith(200, {}, JSON.stringify({ format: 1, files: listed }));
const half = (response) => response.writeHead(200, { "content-length": 10_000 }).write("half", () => response.destroy());
const ODD = {
  "/bundles/page/manifest.json": answerWith(200, { "content-type": "text/html" }, HTML),
  "/bundles/gone/manifest.json": answerWith(503, {}),
  "/bundles/half/manifest.json": half,
  "/bundles/away/manifest.json": answerWith(302, { location: "/bundles/page/manifest.json?sign=in" }),
  "/bundles/login/manifest.json": answerWith(302, { location: "/index.html" }),
  "/bundles/elsewhere/manifest.json": answerWith(302, { location: "https://example.org/manifest.json" }),
  "/bundles/endless/manifest.json": (response) => response.writeHead(200).end("x".repeat(2 ** 21)),
  "/bundles/silent/manifest.json": () => {},
  "/bundles/broken/manifest.json": MANIFEST,
  "/bundles/broken/model.onnx": half,
  "/bundles/broken/tokenizer.json": half,
  "/bundles/broken/config.json": half,
  "/bundles/long/manifest.json": MANIFEST,
  ...Object.fromEntries(Object.keys(files).map((name) => [`/bundles/long/${name}`, answerWith(200, {}, "x".repeat(99))])),
};

for (const [name, pattern] of [
  ["page", "manifest.json is not JSON but a web page"],
  ["gone", "the server answers 503"],
  ["half", "the server's answer breaks off"],
  ["away", "manifest.json is not JSON but a web page"],
  ["login", "the server sends the page on to /index.html"],
  ["elsewhere", "the server does not answer, or sends the page elsewhere"],
  ["endless", "it has more than the 1048576 bytes"],
  ["broken", "the server's answer breaks off"],
  ["long", "it has more than the 10 bytes"],
]) {
  test(`a server's answer is refused: ${name}`, { skip }, async () => {
    await open(`bundles/${name}`);
    await problem(pattern);
    assert.ok(await page.locator("#choose").isVisible());
  });
}

test("a server that says nothing", { skip }, async () => {
  await page.clock.install();
  await open("bundles/silent");
  await page.locator("#stop-opening").waitFor();
  await page.clock.fastForward(31_000);
  await problem("nothing came from the server for 30 seconds");
});

for (const [name, error, pattern] of [
  ["without room", ["Full", "QuotaExceededError"], "does not keep the bundle (it has no room left)"],
  ["without storage", ["No", "SecurityError"], "does not keep the bundle (its storage is switched off"],
]) {
  test(`a browser ${name} answers, and says that it keeps nothing`, { skip }, async () => {
    await page.addInitScript(([message, kind]) => {
      const refuse = async () => {
        throw new DOMException(message, kind);
      };
      if (kind === "SecurityError") CacheStorage.prototype.open = CacheStorage.prototype.has = refuse;
      else Cache.prototype.put = refuse;
    }, error);
    await page.goto(server.address);
    await choose("classification", "a text");
    await page.locator("#kept", { hasText: pattern }).waitFor();
    assert.equal(await opensWith(), "");
  });
}

for (const [name, file] of [["worker", "worker.js"], ["part of the worker", "pieces.js"], ["runtime", "ort-wasm-simd-threaded.wasm"]]) {
  test(`a page that lacks its ${name} says so`, { skip }, async () => {
    await page.route(`**/${file}`, (route) => route.fulfill({ status: 404, body: HTML }));
    await open(GOOD);
    await problem(/its worker does not start|runtime cannot be loaded/);
  });
}

test("a browser without workers says so", { skip }, async () => {
  await page.addInitScript(() => delete globalThis.Worker);
  await page.goto(server.address);
  await problem("its worker does not start");
  assert.ok(await page.locator("#choose").isVisible());
});
