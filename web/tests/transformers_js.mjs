/**
 * Prints the vectors that transformers.js makes of texts, in JSON; tests/export/test_transformers_js.py runs this.
 *
 *     node transformers_js.mjs FOLDER TEXTS.json DTYPE NORMALIZE
 */

import { readFile } from "node:fs/promises";
import { basename, dirname, resolve } from "node:path";

import { env, pipeline } from "@huggingface/transformers";

const [folder, texts, dtype, normalize] = process.argv.slice(2);
env.allowRemoteModels = false;
env.localModelPath = `${dirname(resolve(folder))}/`;
const encode = await pipeline("feature-extraction", basename(folder), { dtype });
const vectors = await encode(JSON.parse(await readFile(texts, "utf8")), { pooling: "mean", normalize: normalize === "true" });
console.log(JSON.stringify(vectors.tolist()));
