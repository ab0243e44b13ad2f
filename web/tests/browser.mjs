/** A server on this machine for the page and the bundles beside it, and a browser without a screen. */

import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { cp, readFile, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";

import { chromium } from "playwright-core";

const TYPES = {
  ".css": "text/css",
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".json": "application/json",
  ".mjs": "text/javascript",
  ".svg": "image/svg+xml",
  ".wasm": "application/wasm",
};
const QUIET = [
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/**
 * Serves one folder at /, /a/ and /b/ and another at /bundles/; returns the address and what stops it.
 *
 * @param {string} dist
 * @param {string} bundles
 * @param {Object<string, (response: object) => void>} odd answers by path, in the place of files
 */
export async function serve(dist, bundles, odd = {}) {
  const server = createServer(async (request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url, "http://x").pathname)).replace(/^\/[ab]\//, "/");
    if (path in odd) return odd[path](response);
    const file = path.startsWith("/bundles/")
      ? join(bundles, path.slice("/bundles/".length))
      : join(dist, path === "/" ? "index.html" : path);
    const found = await stat(file).catch(() => null);
    if (!found?.isFile()) return response.writeHead(404).end();
    response.writeHead(200, { "content-type": TYPES[extname(file)] ?? "application/octet-stream" });
    return createReadStream(file).pipe(response);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const stop = () => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  };
  return { address: `http://127.0.0.1:${server.address().port}/`, stop };
}

/** Writes a bundle that is another one with some files replaced, given as bytes or as what changes a text. */
export async function writeChanged(from, to, changes) {
  await cp(from, to, { recursive: true });
  const manifest = JSON.parse(await readFile(join(from, "manifest.json"), "utf8"));
  for (const [name, change] of Object.entries(changes)) {
    const content = typeof change === "function" ? change(await readFile(join(from, name), "utf8")) : change;
    await writeFile(join(to, name), content);
    const bytes = Buffer.from(content);
    manifest.files[name] = { bytes: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex") };
  }
  await writeFile(join(to, "manifest.json"), JSON.stringify(manifest));
  return to;
}

/** Starts Debian's Chromium. */
export function launch() {
  const args = process.getuid?.() === 0 ? ["--no-sandbox", ...QUIET] : QUIET;
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args });
}
