/** The files of a folder, by name, as a browser would give them. */

import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

export async function readFolder(folder) {
  const names = await readdir(folder);
  return new Map(await Promise.all(names.map(async (name) => [name, new Blob([await readFile(join(folder, name))])])));
}
