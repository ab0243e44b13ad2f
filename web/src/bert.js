/**
 * BERT's rules: characters -> normal characters -> words -> pieces, as the tokenizers library's BertNormalizer,
 * BertPreTokenizer and WordPiece have them.
 */

import { decomposed, isControl, isMark, isPunctuation, isSpace } from "./unicode.js";

const IDEOGRAPHS = [
  [0x4e00, 0x9fff], [0x3400, 0x4dbf], [0x20000, 0x2a6df], [0x2a700, 0x2b73f], [0x2b740, 0x2b81f], [0x2b920, 0x2ceaf],
  [0xf900, 0xfaff], [0x2f800, 0x2fa1f],
];

/** Returns what makes normal characters of one character; none, one or several. */
export function normalizer({ cleans, pads, lowers, strips }) {
  const known = new Map(); // characters met so far: a text has few different ones
  const normal = (character) => {
    let found = character;
    if (cleans) {
      if (found === "\0" || found === "\ufffd" || (isControl(found) && !"\t\n\r".includes(found))) return "";
      if (isSpace(found)) return " ";
    }
    const padding = pads && isIdeograph(found) ? " " : "";
    if (strips) found = Array.from(decomposed(found)).filter((one) => !isMark(one)).join("");
    if (lowers) found = Array.from(found, (one) => one.toLowerCase()).join("");
    return padding + found + padding;
  };
  return (character) => {
    let found = known.get(character);
    if (found === undefined) known.set(character, (found = normal(character)));
    return found;
  };
}

/**
 * Returns where the words of normal text begin and end: white space and each mark of punctuation part them.
 *
 * @returns {[number, number][]}
 */
export function wordsOf(plain) {
  const words = [];
  let begun = -1;
  let at = 0;
  const end = () => {
    if (begun >= 0) words.push([begun, at]);
    begun = -1;
  };
  for (const character of plain) {
    if (isSpace(character)) end();
    else if (isPunctuation(character)) {
      end();
      words.push([at, at + character.length]);
    } else if (begun < 0) begun = at;
    at += character.length;
  }
  end();
  return words;
}

/** The pieces of words: the longest one from the left, again and again. */
export class WordPiece {
  constructor({ vocabulary, longest, prefix, special }) {
    this.vocabulary = vocabulary;
    this.longest = longest;
    this.prefix = prefix;
    this.unknown = special["[UNK]"];
    this.longestPiece = 0;
    for (const piece of vocabulary.keys()) this.longestPiece = Math.max(this.longestPiece, piece.length);
  }

  /** Returns the ids of a word's pieces. */
  pieces(word) {
    const places = [0]; // where characters begin: pieces hold whole ones
    for (const character of word) places.push(places.at(-1) + character.length);
    if (places.length - 1 > this.longest) return [this.unknown];
    const ids = [];
    let start = 0;
    while (start < places.length - 1) {
      let end = places.length - 1;
      let id;
      for (; end > start && id === undefined; end--) {
        if (places[end] - places[start] > this.longestPiece) continue;
        const part = word.slice(places[start], places[end]);
        id = this.vocabulary.get(start ? this.prefix + part : part);
      }
      if (id === undefined) return [this.unknown];
      ids.push(id);
      start = end + 1;
    }
    return ids;
  }
}

function isIdeograph(character) {
  const code = character.codePointAt(0);
  return code >= 0x3400 && IDEOGRAPHS.some(([first, last]) => first <= code && code <= last);
}
