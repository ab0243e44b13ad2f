/**
 * Texts -> the pieces a model reads, and where in the text each word stands.
 *
 * The rules are those of @huggingface/tokenizers. It gives no positions, and where it treats a whole text at once it
 * differs from the tokenizers library that the model was trained with: a capital sigma at the end of a word, ideographs
 * beyond 16 bits. Its normaliser is therefore asked character by character, which settles both.
 */

import { BundleError } from "./bundle.js";

const CHARACTERS = 64; // read for each position of a model, where a piece of real text has about 5
const WIDE = [[0x20000, 0x2a6df], [0x2a700, 0x2b81f], [0x2b920, 0x2ceaf], [0x2f800, 0x2fa1f]];
const SPECIAL = ["[CLS]", "[SEP]", "[MASK]", "[UNK]"];

export class Pieces {
  /**
   * @param {object} layout what tokenizer.json holds
   * @param {typeof import("@huggingface/tokenizers").Tokenizer} Tokenizer
   */
  constructor(layout, Tokenizer) {
    const found = [layout.normalizer?.type, layout.pre_tokenizer?.type, layout.model?.type];
    if (String(found) !== "BertNormalizer,BertPreTokenizer,WordPiece") {
      throw new BundleError(`tokenizer.json is not a BERT tokenizer (it has ${found.join(", ")}).`);
    }
    this.tokenizer = new Tokenizer({ decoder: null, post_processor: null, ...layout }, {});
    this.size = Math.max(...this.tokenizer.get_vocab().values()) + 1; // rows that the network's table must have
    this.padded = layout.normalizer.handle_chinese_chars;
    const added = [...this.tokenizer.get_added_tokens_decoder().values()].map((piece) => piece.content);
    const missing = SPECIAL.filter((name) => this.id(name) === undefined);
    if (missing.length) throw new BundleError(`tokenizer.json lacks the special pieces ${missing.join(", ")}.`);
    const longestFirst = added.sort((a, b) => b.length - a.length).map((name) => name.replace(/[^\w]/g, "\\$&"));
    this.special = longestFirst.length ? new RegExp(longestFirst.join("|"), "g") : /(?!)/g;
    [this.cls, this.sep, this.mask, this.unknown] = SPECIAL.map((name) => this.id(name));
  }

  /** Returns the id of a piece. */
  id(piece) {
    return this.tokenizer.token_to_id(piece);
  }

  /** Returns the piece of an id. */
  piece(id) {
    return this.tokenizer.id_to_token(id);
  }

  /**
   * Returns the words of a text: where each begins and ends in it, and the ids of its pieces.
   *
   * A special piece that stands in the text, such as [MASK], is a word.
   */
  words(text) {
    const words = [];
    let from = 0;
    for (const match of text.matchAll(this.special)) {
      words.push(...this.#plainWords(text, from, match.index));
      from = match.index + match[0].length;
      words.push({ start: match.index, end: from, ids: [this.id(match[0])] });
    }
    words.push(...this.#plainWords(text, from, text.length));
    return words;
  }

  #plainWords(text, from, to) {
    let plain = "";
    const origins = []; // for each unit of `plain`, where its character stands in the text
    const ends = [];
    let at = from;
    for (const character of text.slice(from, to)) {
      const padding = this.padded && wide(character) ? " " : "";
      const normal = padding + this.tokenizer.normalizer(character) + padding;
      for (let unit = 0; unit < normal.length; unit++) {
        origins.push(at);
        ends.push(at + character.length);
      }
      plain += normal;
      at += character.length;
    }
    let next = 0; // only white space lies between words, so each is found at its first occurrence
    return this.tokenizer.pre_tokenizer(plain).map((word) => {
      const start = plain.indexOf(word, next);
      next = start + word.length;
      const ids = this.tokenizer.model([word]).map((piece) => this.id(piece) ?? this.unknown);
      return { start: origins[start], end: ends[next - 1], ids };
    });
  }

  /**
   * Returns what a model reads: [CLS] text [SEP], or [CLS] text [SEP] second [SEP].
   *
   * @param {string} text
   * @param {string | null} second the second text of a pair
   * @param {number} positions the most pieces the model reads; of two texts the longer one is cut
   * @returns {{ids: number[], types: number[], words: {start: number, end: number, ids: number[], first: number}[],
   *     cut: boolean}} `words` are those of the first text whose first piece is read, and `first` is where
   */
  encode(text, second, positions) {
    const given = [text, second ?? ""].map((one) => shortened(one, positions));
    const words = this.words(given[0]);
    const all = words.flatMap((word) => word.ids);
    const others = second === null ? null : this.words(given[1]).flatMap((word) => word.ids);
    const [kept, keptOthers] = room(all.length, others?.length ?? 0, positions - (others ? 3 : 2));
    const ids = [this.cls, ...all.slice(0, kept), this.sep];
    const types = ids.map(() => 0);
    if (others) {
      ids.push(...others.slice(0, keptOthers), this.sep);
      while (types.length < ids.length) types.push(1);
    }
    let first = 1;
    for (const word of words) {
      word.first = first;
      first += word.ids.length;
    }
    const read = words.filter((word) => word.first <= kept);
    const cut = kept < all.length || keptOthers < (others?.length ?? 0);
    return { ids, types, words: read, cut: cut || given[0] !== text || given[1] !== (second ?? "") };
  }
}

/** Returns as much of a text as can be read, so that a pasted book does not halt the page. */
function shortened(text, positions) {
  const most = CHARACTERS * positions;
  if (text.length <= most) return text;
  return [...text.slice(0, 2 * most)].slice(0, most).join(""); // a character takes one unit or two
}

/** Says whether a character is an ideograph beyond 16 bits, which stands alone as the shorter ones do. */
function wide(character) {
  const code = character.codePointAt(0);
  return WIDE.some(([first, last]) => first <= code && code <= last);
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
