/** The page in Chromium, as people use it; tests/test_web.py builds the page and makes the bundles. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, beforeEach, afterEach, test } from "node:test";

import { launch, serve } from "./browser.mjs";
import { paleTexts } from "./contrast.mjs";

const BUNDLES = process.env.LILLIPUT_BUNDLES;
const skip = BUNDLES ? false : "run by tests/test_web.py, which makes the bundles";
const DIST = process.env.LILLIPUT_DIST ?? join(import.meta.dirname, "..", "dist");
const PHONE = { width: 360, height: 740 };
const DESK = { width: 1100, height: 800 };
const PATIENCE = { timeout: 60_000 }; // the processor may be shared

let browser;
let server;
let context;
let page;
let complaints;

before(async () => {
  if (!skip) browser = await launch();
});

after(() => browser?.close());

beforeEach(async () => {
  if (skip) return;
  server = await serve(DIST, BUNDLES);
  await visit({ viewport: DESK });
});

afterEach(async () => {
  await context?.close();
  await server?.stop();
});

/** Opens a browser that has never seen the page. */
async function visit(options) {
  await context?.close();
  context = await browser.newContext(options);
  context.setDefaultTimeout(PATIENCE.timeout);
  page = await context.newPage();
  complaints = [];
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("request", (request) => request.url().startsWith(server.address) || complaints.push(request.url()));
}

async function firstCase(kind) {
  return JSON.parse(await readFile(join(BUNDLES, "float32", `${kind}.json`), "utf8"))[0];
}

async function type(text, second) {
  await page.locator("#text").fill(text);
  if (second !== undefined) await page.locator("#second").fill(second);
  await page.locator("#time", { hasText: "ms" }).waitFor();
}

/** Returns the bars of the page: probabilities in percent by name. */
async function bars() {
  const rows = await page.locator(".bars li").evaluateAll((items) =>
    items.map((item) => [...item.querySelectorAll(".name, .percent")].map((part) => part.textContent)),
  );
  return Object.fromEntries(rows.map(([name, percent]) => [name, Number.parseFloat(percent)]));
}

test("choose a folder, type, read the answer, load again without a server", { skip }, async () => {
  const { text, expected } = await firstCase("classification");
  await page.goto(server.address);
  await page.locator("#folder").setInputFiles(join(BUNDLES, "float32", "classification"));
  await page.locator("#text:focus").waitFor();
  await type(text);
  const online = await bars();
  assert.deepEqual(Object.keys(online).sort(), Object.keys(expected.probabilities).sort());
  for (const [name, share] of Object.entries(expected.probabilities)) assert.ok(Math.abs(online[name] - 100 * share) < 0.06);
  assert.match(await page.locator("#bundle-size").textContent(), /^\d+ kB bundle · 14\.\d MB runtime, 2\.\d+ MB compressed$/);
  await page.locator("#offline", { hasText: "Works without a network" }).waitFor();
  await page.locator("#kept", { hasText: "keeps the bundle" }).waitFor();
  assert.deepEqual(complaints, []);

  await server.stop();
  await page.reload();
  await type(text);
  assert.deepEqual(await bars(), online);
});

test("the example beside the page is a click away", { skip }, async () => {
  await page.goto(server.address);
  await page.locator("#choose-example").click();
  await page.locator("#text:focus").waitFor();
  assert.equal(await page.locator("#bundle-title").textContent(), "packages");
  await type("Compute the eigenvalues of a symmetric matrix.");
  assert.equal(Object.entries(await bars()).toSorted(([, a], [, b]) => b - a)[0][0], "scipy");
  assert.deepEqual(complaints, []);
});

test("an altered bundle on the server is refused with a sentence; a chosen one opens after it", { skip }, async () => {
  const altered = (route) => route.fulfill({ body: '{"format": 1}' });
  await page.route("**/tagging/config.json", altered);
  await page.goto(`${server.address}?bundle=bundles/float32/tagging`);
  await page.locator("#problem", { hasText: "config.json has 13 bytes" }).waitFor();
  const folder = join(BUNDLES, "float32", "tagging");
  await page.locator("#files").setInputFiles(["model.onnx", "tokenizer.json"].map((name) => join(folder, name)));
  await page.locator("#problem", { hasText: "No manifest.json" }).waitFor();
  const names = ["model.onnx", "tokenizer.json", "config.json", "manifest.json"];
  await page.locator("#files").setInputFiles(names.map((name) => join(folder, name)));
  await page.locator("#text:focus").waitFor();
  assert.equal(await page.locator("#problem").textContent(), "");
});

test("files that are dropped on the page are opened", { skip }, async () => {
  await page.goto(server.address);
  await page.locator("#choose").waitFor();
  await page.evaluate(async (folder) => {
    const transfer = new DataTransfer();
    for (const name of ["model.onnx", "tokenizer.json", "config.json", "manifest.json"]) {
      transfer.items.add(new File([await (await fetch(`${folder}/${name}`)).blob()], name));
    }
    document.body.dispatchEvent(new DragEvent("drop", { bubbles: true, dataTransfer: transfer }));
  }, "bundles/int8/joint");
  await page.locator("#text:focus").waitFor();
  assert.match(await page.locator("#bundle-kind").textContent(), /3 classes · 5 tags · int8$/);
});

test("a folder that is not on the server is refused", { skip }, async () => {
  await page.goto(`${server.address}?bundle=bundles/none`);
  await page.locator("#problem", { hasText: "/bundles/none/manifest.json cannot be fetched" }).waitFor();
  await page.goto(`${server.address}?bundle=https://example.org/`);
  await page.locator("#problem", { hasText: "is not a folder on this server" }).waitFor();
});

test("a bundle beside the page opens again without a server", { skip }, async () => {
  const { text } = await firstCase("fill");
  await page.goto(`${server.address}?bundle=bundles/float32/fill`);
  await type(text);
  const online = await bars();
  await page.locator("#offline", { hasText: "Works without a network" }).waitFor();
  await page.locator("#kept", { hasText: "keeps the bundle" }).waitFor();
  await server.stop();
  await page.reload();
  await type(text);
  assert.deepEqual(await bars(), online);
});

test("by keyboard alone", { skip }, async () => {
  const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.localName);
  const walk = async (steps) => {
    const found = [];
    for (let step = 0; step < steps; step++) {
      await page.keyboard.press("Tab");
      found.push(await focused());
    }
    return found;
  };
  await page.goto(server.address);
  await page.locator("#choose").waitFor();
  assert.deepEqual(await walk(3), ["choose-folder", "choose-files", "choose-example"]);
  const chooser = page.waitForEvent("filechooser");
  await page.keyboard.press("Shift+Tab");
  await page.keyboard.press("Shift+Tab");
  await page.keyboard.press("Enter");
  await (await chooser).setFiles(join(BUNDLES, "float32", "pairs"));
  await page.locator("#text:focus").waitFor();
  await page.keyboard.type("one text");
  assert.deepEqual(await walk(1), ["second"]);
  await page.keyboard.type("another");
  await page.locator("#spoken", { hasText: "%" }).waitFor({ state: "attached" });
  await page.locator("#change").focus();
  assert.deepEqual(await walk(3), ["forget", "summary", "text"]);
  const outline = await page.locator("#text").evaluate((element) => getComputedStyle(element).outlineWidth);
  assert.equal(outline, "3px");
  await page.locator("#change").focus();
  await page.keyboard.press("Enter");
  assert.deepEqual([await focused(), ...(await walk(3))], ["choose-folder", "choose-files", "choose-example", "back"]);
  await page.keyboard.press("Enter");
  assert.equal(await focused(), "change");
  await page.locator("#forget").press("Enter");
  await page.locator("#choose-folder:focus").waitFor(); // it is forgotten
  await page.reload();
  await page.locator("#choose").waitFor();
});

test("what speaks against an answer stands above it", { skip }, async () => {
  const cases = JSON.parse(await readFile(join(BUNDLES, "float32", "joint.json"), "utf8"));
  const doubts = ({ classification, unknown }) => [classification.label === null && /^Unsure/, unknown > 0 && /cannot write some words/].filter(Boolean);
  const counts = new Map(cases.map((one) => [doubts(one.expected).length, one])); // of each number the last one
  assert.equal(counts.size, 3);
  for (const { text, expected } of counts.values()) {
    await page.goto(`${server.address}?bundle=bundles/float32/joint`);
    await type(text);
    const shown = await page.locator("#answer .doubt").allTextContents();
    assert.equal(shown.length, doubts(expected).length);
    doubts(expected).forEach((pattern, at) => assert.match(shown[at], pattern));
  }
});

test("what is typed and what a bundle says is never HTML", { skip }, async () => {
  await page.goto(`${server.address}?bundle=bundles/float32/tagging`);
  await type("<img src=x onerror=alert(1)> <b>bold</b>");
  assert.equal(await page.locator("#answer img, #answer b").count(), 0);
  assert.match(await page.locator("#answer").textContent(), /<b/);
});

test("of several classes those that a text has are counted, and all are bars", { skip }, async () => {
  await page.goto(`${server.address}?bundle=bundles/float32/multilabel`);
  const { text, expected } = await firstCase("multilabel");
  await type(text);
  const shown = await bars();
  assert.deepEqual(Object.keys(shown).sort(), Object.keys(expected.probabilities).sort());
  for (const [name, share] of Object.entries(expected.probabilities)) assert.ok(Math.abs(shown[name] - 100 * share) < 0.06);
  const count = expected.labels.length;
  await page.locator("#answer", { hasText: count ? `${count} of 3 classes` : "None of the classes." }).waitFor();
  await page.locator("#spoken", { hasText: count ? `${expected.labels[0]}, ` : "None of the classes." }).waitFor({ state: "attached" });
});

for (const kind of ["classification", "multilabel", "regression", "tagging", "joint", "fill", "encode"]) {
  test(`${kind} on a phone: readable in light and dark, and nothing beside the screen`, { skip }, async () => {
    await visit({ viewport: PHONE, colorScheme: "light", reducedMotion: "reduce" });
    await page.goto(`${server.address}?bundle=bundles/float32/${kind}`);
    const { text, second } = await firstCase(kind);
    await page.locator("summary").click();
    await type(text, (await page.locator("#second").isVisible()) ? second : undefined);
    assert.deepEqual(await page.evaluate(paleTexts), []);
    await page.screenshot({ path: join(BUNDLES, `${kind}-light.png`), fullPage: true });
    await page.emulateMedia({ colorScheme: "dark" });
    assert.deepEqual(await page.evaluate(paleTexts), []);
    await page.screenshot({ path: join(BUNDLES, `${kind}-dark.png`), fullPage: true });
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), PHONE.width);
    assert.deepEqual(complaints, []);
  });
}
