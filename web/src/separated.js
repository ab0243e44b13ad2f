/** A CSV -> its rows, as src/lilliput/text/separated.py reads them. */

import { BundleError } from "./errors.js";
import { counted } from "./figures.js";

const DELIMITERS = [",", ";", "\t", "|"]; // the first of these in the header is the one
const QUOTE = '"';

/**
 * Returns the rows of a CSV, the header first; lines without anything are no rows.
 *
 * A field in double quotes may hold delimiters, line ends, and quotes that are doubled. Throws a BundleError where
 * quotes are not closed, or not followed by a delimiter, or a row has other fields than the header.
 *
 * @param {string} text
 * @param {string} name of the file, for the sentence
 * @returns {string[][]}
 */
export function rowsOf(text, name) {
  const header = text.match(/[^\r\n]+/)?.[0] ?? "";
  const outside = header.split(QUOTE).filter((_, place) => place % 2 === 0).join("");
  const delimiter = DELIMITERS.find((each) => outside.includes(each)) ?? DELIMITERS[0];
  const rows = [];
  for (const { row, line } of rowsBy(delimiter, text, name)) {
    if (rows.length && row.length !== rows[0].length) {
      throw new BundleError(
        `Line ${counted(line)} of ${name} has ${row.length} fields, expected are ${rows[0].length} as in its ` +
          `header; put fields that hold ${JSON.stringify(delimiter)} or line ends in double quotes.`,
      );
    }
    rows.push(row);
  }
  return rows;
}

/** Yields the rows of a text, each with the number of the line that it begins in. */
function* rowsBy(delimiter, text, name) {
  const endOfField = new RegExp(`[\r\n${delimiter === "|" ? "\\|" : delimiter}]`, "g");
  let [at, line] = [0, 1];
  while (at < text.length) {
    const begun = line;
    const row = [];
    for (let goesOn = true; goesOn; ) {
      const isQuoted = text[at] === QUOTE;
      const end = isQuoted ? closing(text, at + 1) : next(endOfField, text, at);
      const field = text.slice(at + isQuoted, end);
      if (isQuoted) line += field.split("\n").length - 1;
      row.push(isQuoted ? field.replaceAll(QUOTE + QUOTE, QUOTE) : field);
      at = end + isQuoted;
      if (end === -1 || (isQuoted && at < text.length && next(endOfField, text, at) !== at)) throw malformed(name, begun, delimiter);
      goesOn = text[at] === delimiter;
      if (goesOn) at++;
    }
    if (row.length > 1 || row[0] || text[at - 1] === QUOTE) yield { row, line: begun };
    at += text.startsWith("\r\n", at) ? 2 : 1;
    line++;
  }
}

/** Returns where the quote stands that closes a field, or -1: one that is not doubled. */
function closing(text, from) {
  let at = text.indexOf(QUOTE, from);
  while (at !== -1 && text[at + 1] === QUOTE) at = text.indexOf(QUOTE, at + 2);
  return at;
}

/** Returns where the next match of an expression begins, or the end of the text. */
function next(expression, text, from) {
  expression.lastIndex = from;
  return expression.exec(text)?.index ?? text.length;
}

function malformed(name, line, delimiter) {
  return new BundleError(
    `The row that begins in line ${counted(line)} of ${name} is malformed: expected are fields separated by ` +
      `${JSON.stringify(delimiter)}, those with quotes in double quotes and their quotes doubled.`,
  );
}
