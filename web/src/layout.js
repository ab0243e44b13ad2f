/**
 * What tokenizer.json holds, refused unless it is the tokenizer of a bundle: BERT's parts with plain settings.
 *
 * Anything else a tokenizers file may hold (regular expressions, replacements, compiled rules) is refused by name and
 * never built. What is let through is small: text is read by bert.js and added.js, in time that grows with the text.
 */

import { AGAIN, BundleError } from "./errors.js";
import { isObject } from "./json.js";

const MOST_PIECES = 1_000_000;
const [MOST_ADDED, MOST_ADDED_CHARACTERS] = [10_000, 100_000];
const [LONGEST_PIECE, LONGEST_WORD, LONGEST_PREFIX] = [1000, 250, 8];
const SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
const FLAGS = ["single_word", "lstrip", "rstrip", "normalized", "special"];
const PARTS = { normalizer: "BertNormalizer", pre_tokenizer: "BertPreTokenizer", model: "WordPiece" };

/**
 * Returns what cuts text into pieces.
 *
 * @param {object} layout what tokenizer.json holds
 * @returns {{cleans: boolean, pads: boolean, lowers: boolean, strips: boolean, vocabulary: Map<string, number>,
 *     longest: number, prefix: string, added: {content: string, id: number, single_word: boolean, lstrip: boolean,
 *     rstrip: boolean, normalized: boolean}[], names: string[], special: Object<string, number>}} the settings of the
 *     normaliser; the pieces with their ids, how long a word may be, and how a piece begins that goes on with a word;
 *     the pieces that are found before that; all pieces by id; and the ids of those that are not text
 */
export function readLayout(layout) {
  const model = { type: "WordPiece", ...layout.model }; // the first versions of the library left the type out
  for (const [part, type] of Object.entries(PARTS)) checkType(part === "model" ? model : layout[part], part, [type]);
  if (layout.decoder) checkType(layout.decoder, "decoder", ["WordPiece"]);
  const { clean_text: cleans, handle_chinese_chars: pads, lowercase: lowers, strip_accents: accents } = layout.normalizer;
  for (const value of [cleans, pads, lowers, accents ?? true]) need(typeof value === "boolean", "its normalizer's settings");
  const vocabulary = readVocabulary(model.vocab);
  const { unk_token: unknown, continuing_subword_prefix: prefix, max_input_chars_per_word: longest } = model;
  need(unknown === "[UNK]" && vocabulary.has("[UNK]"), "its piece for unknown words, [UNK]");
  need(typeof prefix === "string" && prefix && prefix.length <= LONGEST_PREFIX, "how pieces within a word begin, as ##");
  need(Number.isSafeInteger(longest) && longest >= 1 && longest <= LONGEST_WORD, `a longest word of 1 to ${LONGEST_WORD}`);
  const added = readAdded(layout.added_tokens, vocabulary);
  const ids = new Map([...vocabulary, ...added.map(({ content, id }) => [content, id])]);
  const missing = SPECIAL.filter((name) => !ids.has(name));
  if (missing.length) throw new BundleError(`tokenizer.json lacks the special pieces ${missing.join(", ")}; ${AGAIN}.`);
  const special = Object.fromEntries(SPECIAL.map((name) => [name, ids.get(name)]));
  checkProcessor(layout.post_processor, special);
  const names = [];
  for (const [piece, id] of ids) names[id] = piece;
  return { cleans, pads, lowers, strips: accents ?? lowers, vocabulary, longest, prefix, added, names, special };
}

function need(fits, what) {
  if (!fits) throw new BundleError(`tokenizer.json is not one of a bundle: it lacks ${what}; ${AGAIN}.`);
}

function checkType(part, name, types) {
  const found = isObject(part) ? part.type : part;
  if (types.includes(found)) return;
  const said = found === undefined || found === null ? "none" : JSON.stringify(found).slice(0, 100);
  throw new BundleError(
    `tokenizer.json is not the BERT tokenizer of a bundle: its ${name} is ${said}, expected is ${types.join(" or ")}.`,
  );
}

function readVocabulary(vocab) {
  need(isObject(vocab), "a vocabulary of pieces and ids");
  const entries = Object.entries(vocab);
  need(entries.length <= MOST_PIECES, `a vocabulary of at most ${MOST_PIECES} pieces`);
  const taken = new Uint8Array(MOST_PIECES);
  for (const [piece, id] of entries) {
    need(Number.isSafeInteger(id) && id >= 0 && id < MOST_PIECES && !taken[id], "an id of its own for each piece");
    need(piece.length <= LONGEST_PIECE, `pieces of at most ${LONGEST_PIECE} characters`);
    taken[id] = 1;
  }
  return new Map(entries);
}

/** Returns the pieces that are kept whole; those that the vocabulary lacks follow it, as the tokenizers library counts. */
function readAdded(added, vocabulary) {
  need(Array.isArray(added) && added.length <= MOST_ADDED, `a list of at most ${MOST_ADDED} added pieces`);
  const seen = new Set();
  const units = added.reduce((sum, piece) => sum + (piece?.content?.length ?? 0), 0);
  need(units <= MOST_ADDED_CHARACTERS, `added pieces of at most ${MOST_ADDED_CHARACTERS} characters together`);
  let most = -1; // the highest id of those before
  for (const piece of added) {
    const content = piece?.content;
    need(typeof content === "string" && content.length > 0 && content.length <= LONGEST_PIECE, "the text of an added piece");
    need(!seen.has(content), `one added piece ${JSON.stringify(content)} in the place of two`);
    need(FLAGS.every((flag) => typeof piece[flag] === "boolean"), `the flags of the added piece ${JSON.stringify(content)}`);
    const id = vocabulary.get(content) ?? Math.max(vocabulary.size, most + 1);
    need(piece.id === id, `the id ${id} of the added piece ${JSON.stringify(content)}`);
    most = Math.max(most, id);
    seen.add(content);
  }
  return added;
}

/** Refuses what puts other pieces around a text than [CLS] text [SEP] and [CLS] text [SEP] second [SEP]. */
function checkProcessor(processor, special) {
  checkType(processor, "post_processor", ["BertProcessing", "TemplateProcessing"]);
  const [cls, sep] = ["[CLS]", "[SEP]"];
  const is = (found, expected) => JSON.stringify(found) === JSON.stringify(expected);
  if (processor.type === "BertProcessing") {
    need(is(processor.cls, [cls, special[cls]]) && is(processor.sep, [sep, special[sep]]), "[CLS] and [SEP] around a text");
    return;
  }
  const said = (parts) => (Array.isArray(parts) ? parts.map(templatePart).join(" ") : "");
  const ids = (name) => processor.special_tokens?.[name]?.ids;
  need(
    said(processor.single) === "[CLS]:0 A:0 [SEP]:0" &&
      said(processor.pair) === "[CLS]:0 A:0 [SEP]:0 B:1 [SEP]:1" &&
      is(ids(cls), [special[cls]]) &&
      is(ids(sep), [special[sep]]),
    "[CLS] and [SEP] around a text",
  );
}

function templatePart(part) {
  const { id, type_id: type } = part?.SpecialToken ?? part?.Sequence ?? {};
  return `${id}:${type}`;
}
