/**
 * A bundle and texts -> answers, as lilliput's Python runtime gives them.
 *
 * A text is cut into pieces, at most as many as the model has positions. What the network returns are scores: a softmax
 * makes probabilities of them, or a sigmoid where a text may have several classes. A word's tag stands at its first piece. A joint model has its tags and, after them, its
 * classes in one row; the class is read at [CLS]. Of an encoder the mean of a text's states is its vector, and many
 * texts go through the network together, those of like length.
 */

import { BundleError, firstLine } from "./errors.js";
import { checkGraph } from "./graph.js";
import { Pieces } from "./pieces.js";
import { largest, unit } from "./ranking.js";
import { joinTags, lettersOf } from "./tags.js";

const GUESSES = 5;
const BATCH_PIECES = 256; // padding included: larger batches measured slower, and so did single texts
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
    this.width = 0; // numbers of a row of the network's output
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
   * @param {number} top the most classes that are named, the most probable first; of several classes all that the text has are
   * @returns {Promise<{pieces: number, cut: boolean, unknown: number, unsure?: boolean,
   *     classes?: {name: string, probability: number}[], labels?: {name: string, probability: number}[], score?: number,
   *     words?: {start: number, end: number, tag: string, probability: number}[],
   *     slots?: {name: string, start: number, end: number, probability: number}[],
   *     masks?: {start: number, end: number, guesses: {piece: string, probability: number}[]}[],
   *     similarity?: number, vectors?: Float32Array[]}>} `pieces` were read, `cut` says whether some were not,
   *     `unknown` which share of the words is, and `unsure` that no class is probable enough to be the answer
   */
  async answer(text, second = "", top = Infinity) {
    if (this.kind === "encode") return this.#compare(text, second);
    const input = this.#input(text, this.config.pairs ? second : null);
    const rows = rowsOf(await this.#run([input]));
    const answer = { pieces: input.ids.length, cut: input.cut, unknown: input.unknown };
    const { classes, tags, min_probability: least } = this.config;
    if (this.kind === "classification") answer.classes = ranked(softmax(rows[0]), classes, top);
    if (this.kind === "multilabel") {
      const probable = shares(rows[0]);
      answer.labels = ranked(probable, classes, Math.max(top, probable.filter((share) => share >= 0.5).length));
    }
    if (this.kind === "regression") answer.score = finite(rows[0][0]);
    if (this.kind === "fill") answer.masks = this.#guesses(input, rows);
    if (this.kind === "joint") answer.classes = ranked(softmax(rows[0].subarray(tags.length)), classes, top);
    if (answer.classes) answer.unsure = answer.classes[0].probability < (least ?? 0);
    if (this.kind === "tagging" || this.kind === "joint") {
      answer.words = input.words.map(({ start, end, first }) => {
        const [best] = ranked(softmax(rows[first].subarray(0, tags.length)), tags, 1);
        return { start, end, tag: best.name, probability: best.probability };
      });
      answer.slots = joinTags(answer.words, this.letters);
    }
    return answer;
  }

  /**
   * Returns a vector for each text, as `Bundle.encode` does; of length 1 where the bundle normalises.
   *
   * @param {string[]} texts
   * @returns {Promise<{vectors: Float32Array[], pieces: number[], cut: number[], wordless: number[], unknown: number[]}>}
   *     `pieces` of each text were read, of the texts at `cut` not all; those at `wordless` have no words, and zeros for a
   *     vector; `unknown` is the share of each text's words that is
   */
  async encode(texts) {
    const prompt = this.config.prompt ?? "";
    const inputs = texts.map((text) => this.pieces.encode(prompt + text, null, this.config.positions, prompt.length));
    const ofPrompt = this.pieces.encode(prompt, null, this.config.positions).ids.length;
    const places = (test) => [...inputs.keys()].filter((place) => test(inputs[place]));
    const vectors = inputs.map(() => new Float32Array(this.width));
    for (const batch of batches(places(({ ids }) => ids.length > ofPrompt), inputs)) {
      const output = await this.#run(batch.map((place) => inputs[place]));
      batch.forEach((place, row) => {
        const mean = meanOf(output, row, inputs[place].ids.length);
        vectors[place].set(this.config.normalize ? unit(mean) : mean);
      });
    }
    return {
      vectors,
      pieces: inputs.map(({ ids }) => ids.length),
      cut: places(({ cut }) => cut),
      wordless: places(({ ids }) => ids.length <= ofPrompt),
      unknown: inputs.map(({ unknown }) => unknown),
    };
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
    const { width } = await this.#run([{ ids: [0, this.pieces.names.length - 1], types: [0, 0] }]);
    this.width = width;
  }

  #input(text, second) {
    const input = this.pieces.encode(text, second, this.config.positions);
    if (input.ids.length > (second === null ? 2 : 3)) return input;
    throw wordless();
  }

  /** Returns the network's output for a batch: for each input a row, or one for each of `length` pieces. */
  async #run(inputs) {
    const length = Math.max(...inputs.map(({ ids }) => ids.length));
    const shape = [inputs.length, length];
    const filled = (padding, valuesOf) => {
      const values = new BigInt64Array(inputs.length * length).fill(BigInt(padding));
      inputs.forEach((input, row) => values.set(BigInt64Array.from(valuesOf(input), BigInt), row * length));
      return new this.Tensor("int64", values, shape);
    };
    const arrays = [filled(this.pieces.pad, ({ ids }) => ids), filled(0, ({ ids }) => ids.map(() => 1)), filled(0, ({ types }) => types)];
    let output;
    try {
      const outputs = await this.session.run(Object.fromEntries(INPUTS.map((name, index) => [name, arrays[index]])));
      output = outputs[this.session.outputNames[0]];
    } catch (error) {
      throw new BundleError(
        `model.onnx fails on ${length} pieces (${firstLine(error)}); it does not belong to this tokenizer.json or ` +
          "has fewer positions than config.json says, export the bundle again.",
      );
    }
    this.#checkOutput(output, shape);
    return { data: output.data, width: output.dims.at(-1), length };
  }

  #checkOutput({ dims, type }, [texts, length]) {
    const { classes, tags } = this.config;
    const width = dims.at(-1);
    const columns = { regression: 1, fill: this.pieces.names.length, encode: this.width || width }[this.kind] ?? tags.length + classes.length;
    const flat = ["classification", "multilabel", "regression"].includes(this.kind);
    const expected = flat ? [texts, columns] : [texts, length, columns];
    if (type === "float32" && width && String(dims) === String(expected)) return;
    throw new BundleError(
      `model.onnx gives scores of the shape ${dims.join(" x ")} (${type}) for ${length} pieces, where config.json ` +
        `and tokenizer.json need ${flat ? "one row" : "rows"} of ${columns ?? "some"} (float32); the files are of ` +
        "different bundles, export the bundle again.",
    );
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
    const { vectors, pieces, cut, wordless: without, unknown } = await this.encode([text, second]);
    if (without.length) throw wordless();
    const [one, other] = vectors.map((vector) => unit(vector));
    const similarity = one.reduce((sum, value, index) => sum + value * other[index], 0);
    return { pieces: pieces[0] + pieces[1], cut: cut.length > 0, unknown: Math.max(...unknown), similarity, vectors };
  }
}

function wordless() {
  return new BundleError("There are no words in this text, only characters without a meaning.");
}

/** Yields places of inputs, the shortest first, in batches of at most BATCH_PIECES or of one input. */
function* batches(places, inputs) {
  const lengthOf = (place) => inputs[place].ids.length;
  let batch = [];
  for (const place of places.toSorted((a, b) => lengthOf(a) - lengthOf(b))) {
    if (batch.length && (batch.length + 1) * lengthOf(place) > BATCH_PIECES) {
      yield batch;
      batch = [];
    }
    batch.push(place);
  }
  if (batch.length) yield batch;
}

/** Returns the network's output for the only input, a row for each piece, or one. */
function rowsOf({ data, width }) {
  const rows = [];
  for (let at = 0; at < data.length; at += width) rows.push(data.subarray(at, at + width));
  return rows;
}

/** Returns the mean of the states of a text's pieces; throws a BundleError where it is no vector. */
function meanOf({ data, width, length }, row, pieces) {
  const mean = new Float64Array(width);
  for (let piece = 0; piece < pieces; piece++) {
    const from = (row * length + piece) * width;
    for (let column = 0; column < width; column++) mean[column] += data[from + column] / pieces;
  }
  mean.forEach(finite);
  return mean;
}

/** Returns probabilities; throws a BundleError where the scores are none. */
function softmax(scores) {
  let most = -Infinity;
  for (const score of scores) most = Math.max(most, score);
  const powers = Float64Array.from(scores, (score) => Math.exp(score - most));
  const sum = finite(powers.reduce((a, b) => a + b, 0));
  return powers.map((power) => power / sum);
}

/** Returns the probability of each class by itself; throws a BundleError where the scores are none. */
function shares(scores) {
  return Float64Array.from(scores, (score) => 1 / (1 + Math.exp(-finite(score))));
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
