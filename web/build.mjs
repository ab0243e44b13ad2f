/**
 * Copies the page and onnxruntime's plain WebAssembly build into dist/, writes what they weigh, and the types of the
 * library that the page is built on.
 *
 *     node build.mjs [another folder, which is emptied]
 */

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { brotliCompressSync, constants } from "node:zlib";

const HERE = import.meta.dirname;
const DIST = resolve(process.argv[2] ?? join(HERE, "dist"));
const LIBRARIES = [
  "onnxruntime-web/dist/ort.wasm.min.mjs",
  "onnxruntime-web/dist/ort-wasm-simd-threaded.mjs",
  "onnxruntime-web/dist/ort-wasm-simd-threaded.wasm",
];

await rm(DIST, { recursive: true, force: true });
await mkdir(DIST, { recursive: true });
await cp(join(HERE, "src"), DIST, { recursive: true });
for (const library of LIBRARIES) await cp(join(HERE, "node_modules", library), join(DIST, basename(library)));

const files = {};
const all = createHash("sha256");
for (const name of (await readdir(DIST)).sort()) {
  const content = await readFile(join(DIST, name));
  all.update(name).update(content);
  if (name === "sw.js" || name === "lilliput.node.js") continue; // fetched by the browser itself, or never
  // Quality 9 is what servers use on the fly; the highest one saves a tenth more and takes forty seconds.
  const params = { [constants.BROTLI_PARAM_QUALITY]: 9 };
  files[name] = { bytes: content.length, brotli: brotliCompressSync(content, { params }).length };
}
const shell = { version: all.digest("hex").slice(0, 16), files };
await writeFile(join(DIST, "shell.js"), `self.SHELL = ${JSON.stringify(shell, null, 2)};\n`);

await cp(join(HERE, "example"), join(DIST, "example"), { recursive: true }); // fetched only where someone tries it

const compiler = join(HERE, "node_modules", "typescript", "bin", "tsc");
const options = "--allowJs --declaration --emitDeclarationOnly --skipLibCheck --target es2023 --module nodenext --lib es2023,dom,dom.iterable";
execFileSync(process.execPath, [compiler, ...options.split(" "), "--outDir", DIST, join(HERE, "src", "lilliput.js")], { stdio: "inherit" });

const sum = (key) => Object.values(files).reduce((total, file) => total + file[key], 0);
console.log(`${DIST}: ${Object.keys(files).length} files, ${sum("bytes")} bytes, ${sum("brotli")} with brotli`);
