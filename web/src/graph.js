/**
 * Looks through model.onnx and refuses what no bundle's graph has, before onnxruntime reads it: loops and other graphs
 * within nodes, functions, operators of other domains, weights in other files, constants that unfold.
 *
 * How much the operators that are left compute is not followed here, as it is in Python: the worker's memory and time
 * have limits, and the page outlives it. The wire format: https://protobuf.dev/programming-guides/encoding; the fields:
 * onnx/onnx.proto.
 */

import { BundleError } from "./errors.js";

/** What bundles are made of; the same as in src/lilliput/inference/graph_size.py. */
const OPERATORS = new Set([
  "Add", "Attention", "Cast", "Concat", "Div", "Expand", "Gather", "Gelu", "LayerNormalization", "MatMul", "MatMulIntegerToFloat",
  "Max", "Mul", "QuantizeLinear", "ReduceSum", "Reshape", "Shape", "Slice", "Split", "Squeeze", "Tanh", "Transpose", "Unsqueeze",
]);
const DOMAINS = ["", "ai.onnx"];
const OWN = "com.microsoft"; // onnxruntime's
const OWN_OPERATORS = ["MatMulIntegerToFloat", "QuantizeLinear"];
const MOST_FIELDS = 100_000; // of a message; a BERT's graph has about 50 for each layer
const DECODER = new TextDecoder();

/** Throws a BundleError where a model is not one of a bundle. */
export function checkGraph(bytes) {
  let graphs = 0;
  for (const { number, from, to } of fields(bytes, 0, bytes.length)) {
    if (number === 7) {
      graphs++;
      checkNodes(bytes, from, to);
    }
    if (number === 8) checkDomain(textIn(bytes, from, to, 1), [...DOMAINS, OWN]);
    if (number === 20 || number === 25) refuse("it defines functions or training steps");
  }
  if (graphs !== 1) refuse(`it holds ${graphs || "no"} graphs`);
}

function refuse(reason) {
  throw new BundleError(`model.onnx is not the graph of a bundle: ${reason}; export the bundle again.`);
}

function checkNodes(bytes, from, to) {
  for (const field of fields(bytes, from, to)) {
    if (field.number === 1) checkNode(bytes, field.from, field.to);
    if (field.number === 5) checkConstant(bytes, field.from, field.to);
    if (field.number === 15) refuse("it has sparse constants");
  }
}

function checkNode(bytes, from, to) {
  const operator = textIn(bytes, from, to, 4);
  const isOwn = OWN_OPERATORS.includes(operator);
  checkDomain(textIn(bytes, from, to, 7), isOwn ? [OWN] : DOMAINS);
  if (!OPERATORS.has(operator)) refuse(`it has the operator ${shown(operator)}, which no bundle has`);
  for (const field of fields(bytes, from, to)) {
    if (field.number !== 5) continue;
    for (const { number } of fields(bytes, field.from, field.to)) {
      if ([5, 6, 10, 11, 14, 15, 22, 23].includes(number)) refuse(`its ${operator} holds a graph or a tensor of its own`);
    }
  }
}

function checkConstant(bytes, from, to) {
  for (const { number, value } of fields(bytes, from, to)) {
    if (number === 13 || (number === 14 && value)) refuse("it has constants in another file");
    if ([3, 4, 5, 6, 7, 10, 11].includes(number)) refuse("it has constants that are not stored as plain bytes");
  }
}

function checkDomain(domain, domains) {
  if (domains.includes(domain)) return;
  refuse(`it has operators of ${shown(domain)}, and bundles' are of ONNX itself and ${OWN_OPERATORS.join(", ")}`);
}

function shown(name) {
  return JSON.stringify(name.slice(0, 60));
}

/** Returns the text in a field of a message, or an empty one. */
function textIn(bytes, from, to, wanted) {
  let found = "";
  for (const field of fields(bytes, from, to)) {
    if (field.number !== wanted) continue;
    if (found) refuse("it says the same thing twice");
    found = DECODER.decode(bytes.subarray(field.from, field.to));
  }
  return found;
}

/** Yields the fields of a message: their number and either a value or where their bytes are. */
function* fields(bytes, from, to) {
  let at = from;
  const varint = () => {
    let value = 0;
    for (let power = 1; at < to && power < 2 ** 64; power *= 128) {
      const byte = bytes[at++];
      value += (byte & 127) * power;
      if (byte < 128) return value;
    }
    return refuse("it is cut short, or no ONNX file");
  };
  for (let count = 0; at < to; count++) {
    if (count > MOST_FIELDS) refuse("it has parts without number");
    const tag = varint();
    const [number, type] = [Math.floor(tag / 8), tag % 8];
    if (![0, 1, 2, 5].includes(type)) refuse("it is damaged, or no ONNX file");
    if (type === 0) {
      yield { number, value: varint(), from: at, to: at };
      continue;
    }
    const size = type === 2 ? varint() : type === 1 ? 8 : 4;
    if (size > to - at) refuse("it is cut short, or no ONNX file");
    yield { number, value: undefined, from: at, to: at + size };
    at += size;
  }
}
