/**
 * A bundle and texts -> answers, as lilliput's Python runtime gives them.
 *
 * A text is cut into pieces, at most as many as the model has positions, and goes through the network alone. What the
 * network returns are scores: a softmax makes probabilities of them. A word's tag stands at its first piece. A joint
 * model has its tags and, after them, its classes in one row; the class is read at [CLS].
 */

import { BundleError, firstLine } from "./errors.js";
import { checkGraph } from "./graph.js";
import { Pieces } from "./pieces.js";
import { joinTags, lettersOf } from "./tags.js";

const GUESSES = 5;
const INPUTS = ["input_ids", "attention_mask", "token_type_ids"];

/**
 * Makes a model of a bundle.
 *
 * @param {{config: object, tokenizer: object, model: Uint8Array}} bundle from readBundle
 * @param {object} ort onnxruntime-web
 */
export async function openModel(bundle, ort) {
  const pieces = new Pieces(bundle.tokenizer);
  checkGraph(bundle.model);
  let session;
  try {
    session = await ort.InferenceSession.create(bundle.model, { executionProviders: ["wasm"], logSeverityLevel: 4 });
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
    this.letters = lettersOf(config.tags); // of the tags, which say how they are joined
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
   * @param {number} top the most classes that are named, the most probable first
   * @returns {Promise<{pieces: number, cut: boolean, classes?: {name: string, probability: number}[], score?: number,
   *     words?: {start: number, end: number, tag: string, probability: number}[],
   *     slots?: {name: string, start: number, end: number, probability: number}[],
   *     masks?: {start: number, end: number, guesses: {piece: string, probability: number}[]}[],
   *     similarity?: number, vectors?: Float64Array[]}>} `pieces` were read, `cut` says whether some were not
   */
  async answer(text, second = "", top = Infinity) {
    if (this.kind === "encode") return this.#compare(text, second);
    const input = this.#input(text, this.config.pairs ? second : null);
    const { rows } = await this.#run(input);
    const answer = { pieces: input.ids.length, cut: input.cut };
    const { classes, tags } = this.config;
    if (this.kind === "classification") answer.classes = ranked(softmax(rows[0]), classes, top);
    if (this.kind === "regression") answer.score = finite(rows[0][0]);
    if (this.kind === "fill") answer.masks = this.#guesses(input, rows);
    if (this.kind === "joint") answer.classes = ranked(softmax(rows[0].subarray(tags.length)), classes, top);
    if (this.kind === "tagging" || this.kind === "joint") {
      answer.words = input.words.map(({ start, end, first }) => {
        const [best] = ranked(softmax(rows[first].subarray(0, tags.length)), tags, 1);
        return { start, end, tag: best.name, probability: best.probability };
      });
      answer.slots = joinTags(answer.words, this.letters);
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
    await this.#run({ ids: [0, this.pieces.names.length - 1], types: [0, 0] });
  }

  #input(text, second) {
    const input = this.pieces.encode(text, second, this.config.positions);
    if (input.ids.length > (second === null ? 2 : 3)) return input;
    throw new BundleError("There are no words in this text, only characters without a meaning.");
  }

  /** Returns the network's output, a row for each piece, or the only one. */
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
    const { data, dims, type } = output;
    const { classes, tags } = this.config;
    const width = dims.at(-1);
    const columns = { regression: 1, fill: this.pieces.names.length, encode: width }[this.kind] ?? tags.length + classes.length;
    const flat = this.kind === "classification" || this.kind === "regression";
    const expected = flat ? [1, columns] : [1, ids.length, columns];
    if (type !== "float32" || !width || String(dims) !== String(expected)) {
      throw new BundleError(
        `model.onnx gives scores of the shape ${dims.join(" x ")} (${type}) for ${ids.length} pieces, where config.json ` +
          `and tokenizer.json need ${flat ? "one row" : "rows"} of ${columns ?? "some"} (float32); the files are of ` +
          "different bundles, export the bundle again.",
      );
    }
    const rows = [];
    for (let at = 0; at < data.length; at += width) rows.push(data.subarray(at, at + width));
    return { rows, width };
  }

  #guesses({ words }, rows) {
    const masks = words.filter((word) => word.ids.length === 1 && word.ids[0] === this.pieces.mask);
    return masks.map(({ start, end, first }) => {
      const probabilities = softmax(rows[first]);
      const best = largest(probabilities, GUESSES);
      const guesses = best.map((id) => ({ piece: this.pieces.names[id], probability: probabilities[id] }));
      return { start, end, guesses };
    });
  }

  async #compare(text, second) {
    const prompt = this.config.prompt ?? "";
    const inputs = [text, second].map((one) => this.#input(prompt + one, null));
    const vectors = [];
    for (const input of inputs) {
      const { rows, width } = await this.#run(input);
      const mean = new Float64Array(width); // of all pieces: a text alone has no padding to leave out
      for (const row of rows) row.forEach((value, index) => (mean[index] += value / rows.length));
      const length = this.config.normalize ? Math.hypot(...mean) || 1 : 1;
      vectors.push(mean.map((value) => value / length));
    }
    const pieces = inputs[0].ids.length + inputs[1].ids.length;
    return { pieces, cut: inputs.some((input) => input.cut), similarity: finite(cosine(...vectors)), vectors };
  }
}

/** Returns probabilities; throws a BundleError where the scores are none. */
function softmax(scores) {
  let most = -Infinity;
  for (const score of scores) most = Math.max(most, score);
  const powers = Float64Array.from(scores, (score) => Math.exp(score - most));
  const sum = finite(powers.reduce((a, b) => a + b, 0));
  return powers.map((power) => power / sum);
}

function finite(number) {
  if (Number.isFinite(number)) return number;
  throw new BundleError(
    "The model's scores for this text are not finite numbers (NaN), so it has no answer; its weights are damaged: train or " +
      "export the bundle again.",
  );
}

function ranked(probabilities, names, count) {
  return largest(probabilities, count).map((index) => ({ name: names[index], probability: probabilities[index] }));
}

/** Returns the indices of the largest values, the largest first and of equal ones the first. */
function largest(values, count) {
  if (count > GUESSES) return Array.from(values.keys()).sort((a, b) => values[b] - values[a] || a - b).slice(0, count);
  const best = []; // few of many, as of a vocabulary: sorting them all would take longer than the network
  for (let index = 0; index < values.length; index++) {
    if (best.length === count && !(values[index] > values[best.at(-1)])) continue;
    let place = best.length;
    while (place > 0 && values[index] > values[best[place - 1]]) place--;
    best.splice(place, 0, index);
    if (best.length > count) best.pop();
  }
  return best;
}

function cosine(a, b) {
  const dot = (x, y) => x.reduce((sum, value, index) => sum + value * y[index], 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}
