/** The library that the page is built on, as others use it: from its package in Node.js, and on a page of ten lines. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";

import { launch, serve, writeChanged } from "./browser.mjs";

const BUNDLES = process.env.LILLIPUT_BUNDLES;
const DIST = process.env.LILLIPUT_DIST;
const skip = BUNDLES && DIST ? false : "run by tests/test_web.py, which makes the bundles";
const HERE = import.meta.dirname;

let folder;
let server;
let library;

before(async () => {
  if (skip) return;
  folder = await mkdtemp(join(tmpdir(), "lilliput-web-"));
  server = await serve(DIST, BUNDLES);
  library = await import(pathToFileURL(join(DIST, "lilliput.node.js")));
});

after(async () => {
  await server?.stop();
  if (folder) await rm(folder, { recursive: true });
});

async function firstCase(kind) {
  return JSON.parse(await readFile(join(BUNDLES, "float32", `${kind}.json`), "utf8"))[0];
}

function near(found, expected) {
  assert.ok(Math.abs(found - expected) < 1e-5, `${found} is not ${expected}`);
}

test("a folder and an address answer alike, and as Python does", { skip }, async () => {
  const { text, expected } = await firstCase("classification");
  const shares = [];
  for (const source of [join(BUNDLES, "float32", "classification"), `${server.address}bundles/float32/classification`]) {
    const model = await library.load(source, { onProgress: (share) => shares.push(share) });
    assert.equal(model.kind, "classification");
    const { classes } = await model.answer(text);
    for (const { name, probability } of classes) near(probability, expected.probabilities[name]);
    assert.equal((await model.answer(text, "", { top: 1 })).classes.length, 1);
    model.close();
    await assert.rejects(model.answer(text), { message: "This bundle is closed; load it again." });
  }
  assert.equal(shares.at(-1), 1);
  assert.deepEqual(shares, shares.toSorted());
});

test("vectors are those of Python; of no texts there are none", { skip }, async () => {
  const { text, second, expected } = await firstCase("vectors");
  const model = await library.load(join(BUNDLES, "float32", "vectors"));
  const { vectors, wordless } = await model.encode([text, "", second]);
  assert.deepEqual(wordless, [1]);
  [vectors[0], vectors[2]].forEach((vector, row) => vector.forEach((value, at) => near(value, expected.vectors[row][at])));
  assert.deepEqual((await model.encode([])).vectors, []);
  model.close();
  const other = await library.load(join(BUNDLES, "float32", "tagging"));
  await assert.rejects(other.encode([text]), { message: "This bundle does tagging, it gives no vectors." });
  await assert.rejects(other.answer(7), { message: /A text is a string/ });
  other.close();
});

test("what is no bundle is a sentence; what is stopped says so, and the model answers again", { skip }, async () => {
  const { BundleError, Ended, load } = library;
  await assert.rejects(load(join(folder, "none")), (error) => error instanceof BundleError && /cannot be read/.test(error.message));
  await assert.rejects(load(`${server.address}bundles/none/`), /cannot be fetched: the server answers 404/);
  const good = join(BUNDLES, "float32", "fill");
  const altered = join(folder, "altered");
  await writeChanged(good, altered, {});
  await writeFile(join(altered, "config.json"), "{}");
  await assert.rejects(load(altered), /config.json has 2 bytes/);
  await assert.rejects(load(good, { signal: AbortSignal.abort() }), { name: "AbortError" });
  const model = await load(good);
  const control = new AbortController();
  const asked = model.answer("a [MASK]", "", { signal: control.signal });
  control.abort();
  await assert.rejects(asked, { name: "AbortError" });
  const other = model.answer("a [MASK]");
  await new Promise(setImmediate);
  model.stop();
  await other.catch((error) => assert.ok(error instanceof Ended));
  assert.equal((await model.answer("a [MASK]")).masks.length, 1);
  model.close();
});

test("the package is installed, and imported by its name, with types that fit", { skip }, async () => {
  const source = join(folder, "source");
  await cp(DIST, join(source, "dist"), { recursive: true });
  for (const name of ["package.json", "README.md"]) await cp(join(HERE, "..", name), join(source, name));
  const run = (command, cwd, ...more) => execFileSync(command, more, { cwd, encoding: "utf8" });
  const [{ filename }] = JSON.parse(run("npm", source, "pack", "--json"));
  const app = join(folder, "app");
  await mkdir(app);
  await writeFile(join(app, "package.json"), '{"type": "module"}');
  run("npm", app, "install", "--offline", "--no-audit", "--no-fund", join(source, filename));
  const { text } = await firstCase("joint");
  const script = `import { load } from "lilliput-web";
const model = await load(${JSON.stringify(join(BUNDLES, "float32", "joint"))});
const answer = await model.answer(${JSON.stringify(text)});
const first: string | undefined = answer.classes?.[0].name;
console.log(first);
model.close();
`;
  await writeFile(join(app, "use.ts"), script);
  const options = ["--noEmit", "--strict", "--target", "es2023", "--module", "nodenext", "--lib", "es2023,dom,dom.iterable"];
  run(process.execPath, app, join(HERE, "..", "node_modules", "typescript", "bin", "tsc"), ...options, "use.ts");
  await writeFile(join(app, "use.js"), script.replace(": string | undefined", ""));
  assert.match(run(process.execPath, app, "use.js"), /^(bad|good|neither)\n$/);
});

test("the page of the README answers as one types", { skip }, async () => {
  const [, html] = /```html\n(.*?)```/s.exec(await readFile(join(HERE, "..", "README.md"), "utf8"));
  const site = join(folder, "site");
  await cp(DIST, join(site, "lilliput-web"), { recursive: true });
  await cp(join(BUNDLES, "float32", "classification"), join(site, "films"), { recursive: true });
  await writeFile(join(site, "index.html"), html);
  const small = await serve(site, BUNDLES);
  const browser = await launch();
  try {
    const page = await browser.newPage();
    await page.goto(small.address);
    await page.locator("#text").fill("a");
    await page.locator("#answer", { hasText: /good \d+ %/ }).waitFor({ timeout: 60_000 });
  } finally {
    await browser.close();
    await small.stop();
  }
});
