/**
 * Pieces that were added to a vocabulary, such as [MASK] or <user>: found in a text before it is cut into words, as the
 * tokenizers library finds them (find_matches in its added_vocabulary.rs).
 */

import { BundleError } from "./errors.js";
import { isSpace } from "./unicode.js";

const LETTER = /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]$/u; // \w of the library's expressions

export class Added {
  /**
   * @param {{content: string, id: number, single_word: boolean, lstrip: boolean, rstrip: boolean, special: boolean}[]}
   *     pieces
   * @param {(text: string) => string} normal makes of a piece what is looked for
   */
  constructor(pieces, normal) {
    this.pieces = new Map(); // by what is looked for
    const lengths = new Map(); // first unit: how long the pieces are that begin with it
    const specialFirst = [...pieces.filter((piece) => piece.special), ...pieces.filter((piece) => !piece.special)];
    for (const piece of specialFirst) {
      const content = normal(piece.content);
      if (!content) {
        throw new BundleError(
          `tokenizer.json adds the piece ${JSON.stringify(piece.content)}, of which its normalizer leaves nothing.`,
        );
      }
      if (this.pieces.has(content)) continue; // the first one is found
      this.pieces.set(content, piece);
      lengths.set(content[0], (lengths.get(content[0]) ?? new Set()).add(content.length));
    }
    this.lengths = new Map([...lengths].map(([first, found]) => [first, [...found].sort((a, b) => b - a)]));
  }

  /**
   * Returns a text in parts, in order: those that are pieces, with their ids, and what lies between, without.
   *
   * @returns {{start: number, end: number, id?: number}[]}
   */
  split(text) {
    const parts = [];
    let from = 0;
    let at = 0;
    while (at < text.length) {
      const length = this.lengths.get(text[at])?.find((units) => this.pieces.has(text.slice(at, at + units)));
      if (length === undefined) {
        at++;
        continue;
      }
      let [start, end] = [at, at + length];
      const piece = this.pieces.get(text.slice(start, end));
      at = end;
      if (piece.single_word && (isLetter(before(text, start)) || isLetter(after(text, end)))) continue;
      if (piece.lstrip) while (start > from && isSpace(before(text, start))) start--;
      if (piece.rstrip) while (isSpace(after(text, end))) end++;
      if (from < start) parts.push({ start: from, end: start });
      parts.push({ start, end, id: piece.id });
      from = end;
    }
    if (from < text.length) parts.push({ start: from, end: text.length });
    return parts;
  }
}

function isLetter(character) {
  return LETTER.test(character);
}

/** Returns the character that ends at a place, or nothing. */
function before(text, place) {
  const unit = text.charCodeAt(place - 1);
  const low = unit >= 0xdc00 && unit <= 0xdfff;
  return text.slice(Math.max(0, place - (low ? 2 : 1)), place);
}

/** Returns the character that begins at a place, or nothing. */
function after(text, place) {
  return place < text.length ? String.fromCodePoint(text.codePointAt(place)) : "";
}
