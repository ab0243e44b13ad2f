/** The page with servers and browsers that do not do what they should: it says so and stays usable. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { skip, visitor } from "./visitor.mjs";

const GOOD = "bundles/float32/encode";
const HTML = "<!doctype html><title>Sign in</title>";
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
const visit = visitor(ODD);

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
    await visit.open(`bundles/${name}`);
    await visit.problem(pattern);
    assert.ok(await visit.page.locator("#choose").isVisible());
  });
}

test("a server that says nothing", { skip }, async () => {
  await visit.page.clock.install();
  await visit.open("bundles/silent");
  await visit.page.locator("#stop-opening").waitFor();
  await visit.page.clock.fastForward(31_000);
  await visit.problem("nothing came from the server for 30 seconds");
});

for (const [name, error, pattern] of [
  ["without room", ["Full", "QuotaExceededError"], "does not keep the bundle (it has no room left)"],
  ["without storage", ["No", "SecurityError"], "does not keep the bundle (its storage is switched off"],
]) {
  test(`a browser ${name} answers, and says that it keeps nothing`, { skip }, async () => {
    await visit.page.addInitScript(([message, kind]) => {
      const refuse = async () => {
        throw new DOMException(message, kind);
      };
      if (kind === "SecurityError") CacheStorage.prototype.open = CacheStorage.prototype.has = refuse;
      else Cache.prototype.put = refuse;
    }, error);
    await visit.page.goto(visit.server.address);
    await visit.choose("classification", "a text");
    await visit.page.locator("#kept", { hasText: pattern }).waitFor();
    assert.equal(await visit.opensWith(), "");
  });
}

for (const [name, file] of [["worker", "worker.js"], ["part of the worker", "pieces.js"], ["runtime", "ort-wasm-simd-threaded.wasm"]]) {
  test(`a page that lacks its ${name} says so`, { skip }, async () => {
    await visit.page.route(`**/${file}`, (route) => route.fulfill({ status: 404, body: HTML }));
    await visit.open(GOOD);
    await visit.problem(/its worker does not start|runtime cannot be loaded/);
  });
}

test("a browser without workers says so", { skip }, async () => {
  await visit.page.addInitScript(() => delete globalThis.Worker);
  await visit.page.goto(visit.server.address);
  await visit.problem("its worker does not start");
  assert.ok(await visit.page.locator("#choose").isVisible());
});
