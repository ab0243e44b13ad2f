/**
 * A text file or a CSV -> documents to search: each line of a text file is one, and of a CSV each row's field in a column.
 *
 * They are held in memory, and so are their vectors, so that there are limits to both.
 */

import { BundleError } from "./errors.js";
import { counted, sized } from "./figures.js";
import { rowsOf } from "./separated.js";

const MOST_BYTES = 2 ** 26; // of a file
const MOST_DOCUMENTS = 50_000; // whose vectors of 384 numbers take 77 MB
const MOST_MEMORY = 2 ** 28; // bytes of vectors
const [GROUP, GROUP_CHARACTERS] = [64, 4096]; // that are embedded in one go: progress is shown between them
const LETTER = /\p{L}/gu;

/** Says whether a file that was dropped is one of documents rather than one of a bundle. */
export function isDocuments({ name }) {
  return /\.(txt|csv|tsv|tab|md)$/i.test(name);
}

/**
 * Reads a file of documents.
 *
 * @param {File} file
 * @returns {Promise<{name: string, columns: {name: string, texts: string[]}[], chosen: number}>} the columns of a CSV, of
 *     which the one at `chosen` has the most letters; of a text file one without a name
 */
export async function readDocuments(file) {
  const name = file.name.slice(0, 200);
  if (/\.(tsv|tab)$/i.test(name)) throw new BundleError(`${name} is neither a text file nor a CSV; save it as CSV.`);
  const text = await readText(file, name);
  const columns = /\.csv$/i.test(name) ? columnsOf(text, name) : [{ name: "", texts: text.trimEnd().split(/\r\n?|\n/) }];
  const letters = columns.map(({ texts }) => texts.reduce((sum, one) => sum + (one.match(LETTER)?.length ?? 0), 0));
  const most = Math.max(...letters);
  if (most === 0) {
    throw new BundleError(
      columns[0].name
        ? `No column of ${name} has text (it has ${named(columns)}); choose a file with one that does.`
        : `${name} has no words; choose a file with a document in each line.`,
    );
  }
  return { name, columns, chosen: letters.indexOf(most) };
}

/**
 * Returns the texts of a column that are not empty, and how many are.
 *
 * @param {{name: string, columns: {name: string, texts: string[]}[]}} table from readDocuments
 * @param {number} column
 * @param {number} width numbers of a vector
 * @returns {{texts: string[], empty: number}}
 */
export function documentsOf({ name, columns }, column, width) {
  const { texts, name: title } = columns[column];
  const full = texts.filter((text) => text.trim());
  if (!full.length) throw new BundleError(`The column ${title || "chosen"} of ${name} has no text; choose another one.`);
  const most = Math.min(MOST_DOCUMENTS, Math.floor(MOST_MEMORY / 4 / width));
  if (full.length > most) {
    throw new BundleError(
      `${name} has ${counted(full.length)} documents; this page searches at most ${counted(most)}, whose vectors of ` +
        `${counted(width)} numbers take ${sized(4 * width * most)} of memory. Split the file, or use lilliput in Python.`,
    );
  }
  return { texts: full, empty: texts.length - full.length };
}

/** Yields places of texts, the shortest first, in groups that take a moment each. */
export function* groups(texts) {
  let group = [];
  let characters = 0;
  for (const place of [...texts.keys()].sort((a, b) => texts[a].length - texts[b].length)) {
    if (group.length && (group.length === GROUP || characters + texts[place].length > GROUP_CHARACTERS)) {
      yield group;
      [group, characters] = [[], 0];
    }
    group.push(place);
    characters += texts[place].length;
  }
  if (group.length) yield group;
}

async function readText(file, name) {
  if (file.size > MOST_BYTES) {
    throw new BundleError(`${name} has ${sized(file.size)}; this page reads at most ${sized(MOST_BYTES)}. Split the file.`);
  }
  let bytes;
  try {
    bytes = await file.arrayBuffer();
  } catch (error) {
    throw new BundleError(`${name} cannot be read (${error.message}); choose it again.`);
  }
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    text = "\0";
  }
  if (text.includes("\0")) {
    throw new BundleError(`${name} is not text in UTF-8; choose a text file or a CSV, and save it as UTF-8.`);
  }
  if (!text.trim()) throw new BundleError(`${name} is empty; choose a file with a document in each line, or a CSV.`);
  return text;
}

function columnsOf(text, name) {
  const [header, ...rows] = rowsOf(text, name);
  if (!rows.length) throw new BundleError(`${name} has no rows below its header; choose a CSV with documents.`);
  return header.map((title, column) => ({
    name: title.trim() || `column ${column + 1}`,
    texts: rows.map((row) => row[column]),
  }));
}

function named(columns) {
  const shown = columns.slice(0, 5).map(({ name }) => name.slice(0, 80));
  return shown.join(", ") + (columns.length > shown.length ? ` and ${columns.length - shown.length} more` : "");
}
