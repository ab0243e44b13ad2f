/** Texts -> the pieces a model reads, and where in the text each word stands. */

import { Added } from "./added.js";
import { normalizer, WordPiece, wordsOf } from "./bert.js";
import { readLayout } from "./layout.js";

const CHARACTERS = 64; // read for each position of a model, where a piece of real text has about 5

export class Pieces {
  /** @param {object} layout what tokenizer.json holds */
  constructor(layout) {
    const read = readLayout(layout);
    this.names = read.names; // by id; as many as the network's table must have rows
    this.normal = normalizer(read);
    this.model = new WordPiece(read);
    const whole = (content) => Array.from(content, this.normal).join("");
    this.added = new Added(read.added.filter((piece) => !piece.normalized), (content) => content);
    this.addedNormal = new Added(read.added.filter((piece) => piece.normalized), whole);
    this.mask = read.special["[MASK]"];
    this.unk = read.special["[UNK]"];
    this.pad = read.special["[PAD]"];
    this.cls = read.special["[CLS]"];
    this.sep = read.special["[SEP]"];
  }

  /**
   * Returns the words of a text: where each begins and ends in it, and the ids of its pieces.
   *
   * An added piece that stands in the text, such as [MASK], is a word.
   */
  words(text) {
    const words = [];
    for (const { start, end, id } of this.added.split(text)) {
      if (id === undefined) this.#plainWords(text, start, end, words);
      else words.push({ start, end, ids: [id] });
    }
    return words;
  }

  #plainWords(text, from, to, words) {
    let plain = "";
    const origins = []; // for each unit of `plain`, where its character stands in the text
    const ends = [];
    let at = from;
    for (const character of text.slice(from, to)) {
      const normal = this.normal(character);
      for (let unit = 0; unit < normal.length; unit++) {
        origins.push(at);
        ends.push(at + character.length);
      }
      plain += normal;
      at += character.length;
    }
    const add = (start, end, ids) => words.push({ start: origins[start], end: ends[end - 1], ids });
    for (const part of this.addedNormal.split(plain)) {
      if (part.id !== undefined) {
        add(part.start, part.end, [part.id]);
        continue;
      }
      for (const [start, end] of wordsOf(plain.slice(part.start, part.end))) {
        const word = plain.slice(part.start + start, part.start + end);
        add(part.start + start, part.start + end, this.model.pieces(word));
      }
    }
  }

  /**
   * Returns what a model reads: [CLS] text [SEP], or [CLS] text [SEP] second [SEP].
   *
   * @param {string} text
   * @param {string | null} second the second text of a pair
   * @param {number} positions the most pieces the model reads; of two texts the longer one is cut
   * @param {number} begins characters before the text, such as those of a prompt, whose words are not unknown
   * @returns {{ids: number[], types: number[], words: {start: number, end: number, ids: number[], first: number}[],
   *     cut: boolean, unknown: number}} `words` are those of the first text whose first piece is read, and `first` is
   *     where; `unknown` is the share of [UNK] among the words of both that are read
   */
  encode(text, second, positions, begins = 0) {
    const given = [text, second ?? ""].map((one) => shortened(one, positions));
    const words = this.words(given[0]);
    const all = words.flatMap((word) => word.ids);
    const otherWords = second === null ? [] : this.words(given[1]);
    const others = second === null ? null : otherWords.flatMap((word) => word.ids);
    const [kept, keptOthers] = room(all.length, others?.length ?? 0, positions - (others ? 3 : 2));
    const own = [this.cls].concat(all.slice(0, kept), this.sep);
    const ids = others ? own.concat(others.slice(0, keptOthers), this.sep) : own;
    const types = ids.map((id, place) => (place < own.length ? 0 : 1));
    const read = begun(words, kept);
    const cut = kept < all.length || keptOthers < (others?.length ?? 0);
    const counted = read.filter(({ end }) => end > begins).concat(begun(otherWords, keptOthers));
    const unknown = counted.filter((word) => word.ids.includes(this.unk)).length / (counted.length || 1);
    return { ids, types, words: read, cut: cut || given[0] !== text || given[1] !== (second ?? ""), unknown };
  }
}

/** Returns the words whose first piece is among those that are kept, with its place, from 1. */
function begun(words, kept) {
  let first = 1;
  for (const word of words) {
    word.first = first;
    first += word.ids.length;
  }
  return words.filter((word) => word.first <= kept);
}

/** Returns as much of a text as can be read, so that a pasted book does not halt the page. */
function shortened(text, positions) {
  const most = CHARACTERS * positions;
  if (text.length <= most) return text;
  return [...text.slice(0, 2 * most)].slice(0, most).join(""); // a character takes one unit or two
}

/** Returns how many pieces of each text are kept so that `most` are kept at most: the longer text is cut first. */
function room(first, second, most) {
  if (first + second <= most) return [first, second];
  const [short, long] = first > second ? [second, first] : [first, second];
  let [kept, keptLong] = [short, Math.max(short, most - short)];
  if (kept + keptLong > most) {
    kept = Math.floor(most / 2);
    keptLong = kept + (most % 2);
  }
  keptLong = Math.min(keptLong, long);
  return first > second ? [keptLong, kept] : [kept, keptLong];
}
