/**
 * A bundle and texts -> answers, as lilliput's Python runtime gives them.
 *
 * A text is cut into pieces, at most as many as the model has positions, and goes through the network alone. What the
 * network returns are scores: a softmax makes probabilities of them. A word's tag stands at its first piece. A joint
 * model has its tags and, after them, its classes in one row; the class is read at [CLS].
 */

import { BundleError } from "./bundle.js";
import { Pieces } from "./pieces.js";

const GUESSES = 5;
const INPUTS = ["input_ids", "attention_mask", "token_type_ids"];

/**
 * Makes a model of a bundle.
 *
 * @param {{config: object, tokenizer: object, model: Uint8Array}} bundle from readBundle
 * @param {{ort: object, Tokenizer: Function}} libraries onnxruntime-web and the tokenizer of @huggingface/tokenizers
 */
export async function openModel(bundle, { ort, Tokenizer }) {
  const pieces = new Pieces(bundle.tokenizer, Tokenizer);
  let session;
  try {
    session = await ort.InferenceSession.create(bundle.model, { executionProviders: ["wasm"] });
  } catch (error) {
    throw new BundleError(
      `model.onnx cannot be run by the onnxruntime in this page (${firstLine(error)}); export the bundle again with an ` +
        "older opset or another quantization.",
    );
  }
  const model = new Model(bundle.config, pieces, session, ort.Tensor);
  await model.check();
  return model;
}

class Model {
  constructor(config, pieces, session, Tensor) {
    this.config = config;
    this.kind = config.kind;
    this.pieces = pieces;
    this.session = session;
    this.Tensor = Tensor;
  }

  /** Says whether the model reads two texts. */
  get two() {
    return this.kind === "encode" || Boolean(this.config.pairs);
  }

  /**
   * Returns what the model says of a text, or of two.
   *
   * @param {string} text
   * @param {string} second the other text of a pair or of a comparison; else ignored
   * @returns {Promise<{pieces: number, cut: boolean, classes?: {name: string, probability: number}[], score?: number,
   *     words?: {start: number, end: number, tag: string, probability: number}[],
   *     slots?: {name: string, start: number, end: number, probability: number}[],
   *     masks?: {start: number, end: number, guesses: {piece: string, probability: number}[]}[],
   *     similarity?: number, vectors?: Float64Array[]}>} `pieces` were read, `cut` says whether some were not
   */
  async answer(text, second = "") {
    if (this.kind === "encode") return this.#compare(text, second);
    const input = this.pieces.encode(text, this.config.pairs ? second : null, this.config.positions);
    const { rows } = await this.#run(input);
    const answer = { pieces: input.ids.length, cut: input.cut };
    const { classes, tags } = this.config;
    if (this.kind === "classification") answer.classes = ranked(softmax(rows[0]), classes);
    if (this.kind === "regression") answer.score = rows[0][0];
    if (this.kind === "fill") answer.masks = this.#guesses(input, rows);
    if (this.kind === "joint") answer.classes = ranked(softmax(rows[0].subarray(tags.length)), classes);
    if (this.kind === "tagging" || this.kind === "joint") {
      answer.words = input.words.map(({ start, end, first }) => {
        const [best] = ranked(softmax(rows[first].subarray(0, tags.length)), tags);
        return { start, end, tag: best.name, probability: best.probability };
      });
      answer.slots = joinTags(answer.words);
    }
    return answer;
  }

  /** Frees the memory of the network. */
  async close() {
    await this.session.release();
  }

  /** Throws a BundleError where network, tokenizer and settings do not belong together, by one short run. */
  async check() {
    const found = this.session.inputNames;
    if (INPUTS.some((name) => !found.includes(name)) || found.length > INPUTS.length) {
      throw new BundleError(`model.onnx takes ${found.join(", ")}; expected are ${INPUTS.join(", ")}.`);
    }
    const { classes, tags } = this.config;
    const pieces = this.pieces.size;
    const { width, dims } = await this.#run({ ids: [0, pieces - 1], types: [0, 0] });
    const expected = { regression: 1, fill: pieces, encode: width }[this.kind] ?? tags.length + classes.length;
    const flat = this.kind === "classification" || this.kind === "regression";
    if (width !== expected || dims.length !== (flat ? 2 : 3)) {
      throw new BundleError(
        `model.onnx gives scores of the shape ${dims.join(" x ")} for two pieces, where config.json and tokenizer.json ` +
          `need ${expected} in a row; the files are of different bundles, export the bundle again.`,
      );
    }
  }

  async #run({ ids, types }) {
    const row = (values) => new this.Tensor("int64", BigInt64Array.from(values, BigInt), [1, values.length]);
    const arrays = [row(ids), row(ids.map(() => 1)), row(types)];
    let output;
    try {
      const outputs = await this.session.run(Object.fromEntries(INPUTS.map((name, index) => [name, arrays[index]])));
      output = outputs[this.session.outputNames[0]];
    } catch (error) {
      throw new BundleError(
        `model.onnx fails on ${ids.length} pieces (${firstLine(error)}); it does not belong to this tokenizer.json or ` +
          "has fewer positions than config.json says, export the bundle again.",
      );
    }
    const { data, dims } = output;
    const width = dims.at(-1);
    const rows = [];
    for (let at = 0; at < data.length; at += width) rows.push(data.subarray(at, at + width));
    return { rows, width, dims };
  }

  #guesses({ words }, rows) {
    const masks = words.filter((word) => word.ids.length === 1 && word.ids[0] === this.pieces.mask);
    return masks.map(({ start, end, first }) => {
      const probabilities = softmax(rows[first]);
      const best = largest(probabilities, GUESSES);
      const guesses = best.map((id) => ({ piece: this.pieces.piece(id), probability: probabilities[id] }));
      return { start, end, guesses };
    });
  }

  async #compare(text, second) {
    const inputs = [text, second].map((one) => this.pieces.encode(one, null, this.config.positions));
    const vectors = [];
    for (const input of inputs) {
      const { rows, width } = await this.#run(input);
      const mean = new Float64Array(width); // of all pieces: a text alone has no padding to leave out
      for (const row of rows) row.forEach((value, index) => (mean[index] += value / rows.length));
      vectors.push(mean);
    }
    const pieces = inputs[0].ids.length + inputs[1].ids.length;
    return { pieces, cut: inputs.some((input) => input.cut), similarity: cosine(...vectors), vectors };
  }
}

/**
 * Returns the slots that the tags of words make: B-x begins one, I-x goes on with a slot x or else begins one.
 *
 * A tag of another form is a slot of its own at each word, named by the whole tag.
 */
export function joinTags(words) {
  const slots = [];
  let before = "O";
  for (const { start, end, tag, probability } of words) {
    const name = /^[BI]-/.test(tag) ? tag.slice(2) : tag;
    const last = slots.at(-1);
    if (tag.startsWith("I-") && (before === `B-${name}` || before === `I-${name}`)) {
      last.end = end;
      last.probability = Math.min(last.probability, probability);
    } else if (tag !== "O") {
      slots.push({ name, start, end, probability });
    }
    before = tag;
  }
  return slots;
}

function firstLine(error) {
  return String(error.message ?? error).split("\n")[0];
}

function softmax(scores) {
  const largestScore = scores.reduce((a, b) => Math.max(a, b), -Infinity);
  const powers = Float64Array.from(scores, (score) => Math.exp(score - largestScore));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}

function ranked(probabilities, names) {
  const order = largest(probabilities, names.length);
  return order.map((index) => ({ name: names[index], probability: probabilities[index] }));
}

/** Returns the indices of the largest values, the largest first and of equal ones the first. */
function largest(values, count) {
  const order = Array.from(values.keys()).sort((a, b) => values[b] - values[a] || a - b);
  return order.slice(0, count);
}

function cosine(a, b) {
  const dot = (x, y) => x.reduce((sum, value, index) => sum + value * y[index], 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}
