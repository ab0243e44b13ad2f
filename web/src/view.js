/**
 * Answers and bundles -> elements of the page, and sentences for a screen reader.
 *
 * What comes from a bundle or a text becomes text nodes only, never HTML. A bundle's names are shown with their control
 * characters spelt out and not too long, and of long lists the beginning.
 */

import { make } from "./dom.js";
import { counted, milliseconds, percent } from "./figures.js";

const MOST_BARS = 5;
const MOST_ROWS = 100; // of slots, or of [MASK]s
const LONGEST_NAME = 120;
const LONGEST_DOCUMENT = 400; // characters that are shown
const KINDS = {
  classification: "gives a text one of its classes",
  multilabel: "gives a text any number of its classes",
  regression: "gives a text a score",
  tagging: "gives each word a tag",
  joint: "gives a text a class, and each word a tag",
  fill: "guesses the piece behind [MASK]",
  encode: "makes vectors of texts, to compare and to search them",
};

/** Returns a name from a bundle as it can be shown: one line, with nothing that hides or turns the text around it. */
export function shownName(name) {
  const plain = name.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (found) => `\\u{${found.codePointAt(0).toString(16)}}`);
  const whole = Array.from(plain);
  return whole.length > LONGEST_NAME ? `${whole.slice(0, LONGEST_NAME).join("")} …` : plain || "(no name)";
}

/** Returns what a bundle is, in a line. */
export function bundleTitle(config) {
  const many = (list, one, several) => (list.length ? [`${list.length} ${list.length === 1 ? one : several}`] : []);
  const kind = config.pairs ? KINDS[config.kind].replace("a text", "two texts together") : KINDS[config.kind];
  const facts = [...many(config.classes, "class", "classes"), ...many(config.tags, "tag", "tags")];
  return { title: shownName(config.task ?? config.kind), kind: [kind, ...facts, shownName(config.quantization)].join(" · ") };
}

/** Fills a table with the bytes of files and their sum. */
export function fillSizes(body, sizes) {
  const row = (name, bytes) => make("tr", "", make("td", "", shownName(name)), make("td", "", `${counted(bytes)} bytes`));
  const sum = sizes.reduce((total, [, bytes]) => total + bytes, 0);
  body.replaceChildren(...sizes.map(([name, bytes]) => row(name, bytes)), row("together", sum));
  return sum;
}

/** Returns how long an answer took and how much of the text it is for. */
export function timeLine({ answer, times, positions }) {
  const median = times.toSorted((a, b) => a - b)[times.length >> 1];
  const runs = times.length === 1 ? "one run" : `median of ${times.length} runs`;
  const cut = answer.cut ? [`only the beginning was read, the model has ${positions} positions`] : [];
  return [milliseconds(median), runs, `${answer.pieces} pieces`, "one thread", ...cut].join(" · ");
}

/**
 * Returns an answer as elements.
 *
 * @param {object} answer
 * @param {string[]} texts what it is for
 * @param {{classes: string[]}} config of the bundle
 * @param {Map<string, number>} hues the colours of slots met so far; those of new ones are added
 */
export function answerView(answer, texts, config, hues) {
  const parts = doubts(answer).map((doubt) => make("p", "hint doubt", doubt));
  if (answer.classes) {
    const entries = answer.classes.map(({ name, probability }) => [name, probability]);
    parts.push(bars(entries, config.classes.length - entries.length));
  }
  if (answer.labels) {
    const entries = answer.labels.map(({ name, probability }) => [name, probability]);
    const said = labelsOf(answer);
    parts.push(make("p", "hint", said.length ? `${counted(said.length)} of ${counted(config.classes.length)} classes` : "None of the classes."));
    parts.push(bars(entries, config.classes.length - entries.length, said.length));
  }
  if ("score" in answer) parts.push(figure(answer.score.toFixed(2), "score"));
  if (answer.slots) parts.push(...slotsView(answer.slots, texts[0], hues));
  if (answer.masks) parts.push(...masksView(answer.masks, texts[0]));
  if ("similarity" in answer) {
    parts.push(figure(answer.similarity.toFixed(3), "cosine similarity: 1 where the vectors point the same way"));
    parts.push(gauge(Math.max(0, answer.similarity)));
  }
  return parts;
}

/** Returns what speaks against an answer, in sentences. */
function doubts({ unsure, unknown }) {
  const share = `${Math.max(1, Math.round(100 * unknown))} %`;
  return [
    ...(unsure ? ["Unsure: no class is as probable as this bundle asks of an answer."] : []),
    ...(unknown ? [`The vocabulary cannot write some words: ${share} of all.`] : []),
  ];
}

/** Returns an answer as a sentence. */
export function answerSentence(answer, texts) {
  const said = doubts(answer);
  if (answer.classes) said.push(`${shownName(answer.classes[0].name)}, ${percent(answer.classes[0].probability)}.`);
  if (answer.labels) {
    const names = labelsOf(answer).slice(0, MOST_ROWS);
    said.push(names.map(({ name, probability }) => `${shownName(name)}, ${percent(probability)}.`).join(" ") || "None of the classes.");
  }
  if ("score" in answer) said.push(`Score ${answer.score.toFixed(2)}.`);
  if (answer.slots?.length === 0) said.push("No slots.");
  for (const slot of (answer.slots ?? []).slice(0, MOST_ROWS)) said.push(`${shownName(slot.name)}: ${texts[0].slice(slot.start, slot.end)}.`);
  for (const { guesses } of (answer.masks ?? []).slice(0, MOST_ROWS)) said.push(`${shownName(guesses[0].piece)}, ${percent(guesses[0].probability)}.`);
  if ("similarity" in answer) said.push(`Cosine similarity ${answer.similarity.toFixed(3)}.`);
  return said.join(" ");
}

/** Returns the classes that a text has: those that are as probable as not, at least. */
function labelsOf({ labels }) {
  return labels.filter(({ probability }) => probability >= 0.5);
}

function figure(number, what) {
  return make("p", "figure", make("strong", "", number), " ", make("span", "", what));
}

function gauge(share) {
  const bar = make("span", "bar", make("i", ""));
  bar.firstChild.style.inlineSize = `${100 * share}%`; // through the object model: the policy forbids style attributes
  bar.setAttribute("aria-hidden", "true");
  return bar;
}

/** Returns the most probable of some names as bars, at least the first `least`, and how many others there are. */
function bars(entries, others = 0, least = 0) {
  const rows = entries.slice(0, Math.max(MOST_BARS, Math.min(least, MOST_ROWS))).map(([name, probability]) => {
    return make("li", "", make("span", "name", shownName(name)), gauge(probability), make("span", "percent", percent(probability)));
  });
  const list = make("ol", "bars", ...rows);
  const rest = others + entries.length - rows.length;
  if (rest > 0) list.append(make("li", "rest", `and ${counted(rest)} less probable`));
  return list;
}

function slotsView(slots, text, hues) {
  const coloured = (element, name) => {
    if (!hues.has(name)) hues.set(name, (hues.size * 137.5 + 190) % 360); // the golden angle: far apart, however many
    element.style.setProperty("--hue", hues.get(name));
    return element;
  };
  const line = make("p", "slots");
  const legend = make("ul", "legend");
  let from = 0;
  for (const { name, start, end, probability } of slots.slice(0, MOST_ROWS)) {
    line.append(text.slice(from, start));
    line.append(coloured(make("mark", "", text.slice(start, end), make("small", "", shownName(name))), name));
    const swatch = coloured(make("span", "swatch"), name);
    const found = make("span", "found", text.slice(start, end));
    const share = make("span", "percent", percent(probability));
    legend.append(make("li", "", swatch, make("span", "name", shownName(name)), found, share));
    from = end;
  }
  line.append(text.slice(from));
  if (slots.length > MOST_ROWS) legend.append(make("li", "rest", `and ${slots.length - MOST_ROWS} further slots`));
  return slots.length ? [line, legend] : [line, make("p", "hint", "No slots in this text.")];
}

function masksView(masks, text) {
  if (!masks.length) return [make("p", "hint", "No [MASK] is in the part of the text that was read.")];
  const line = make("p", "slots filled");
  let from = 0;
  for (const { start, end, guesses } of masks.slice(0, MOST_ROWS)) {
    const best = guesses[0].piece;
    const before = text.slice(from, start);
    line.append(best.startsWith("##") ? before.trimEnd() : before, make("mark", "", shownName(best.replace(/^##/, ""))));
    from = end;
  }
  line.append(text.slice(from));
  const lists = masks.slice(0, MOST_ROWS).map(({ guesses }, index) => {
    const list = bars(guesses.map(({ piece, probability }) => [piece, probability]));
    return masks.length === 1 ? list : make("div", "", make("h3", "", `[MASK] number ${index + 1}`), list);
  });
  return [line, ...lists];
}

/** Returns what stands ready to be searched, and what does not, in a line. */
export function documentsLine(name, count, { empty, cut, wordless }, took) {
  const some = (number, what) => (number ? [`${counted(number)} ${what}`] : []);
  return [
    `${name}: ${counted(count)} ${count === 1 ? "document" : "documents"} in ${(took / 1000).toFixed(1)} s`,
    ...some(empty, "empty left out"),
    ...some(cut, "longer than the model reads, of which only the beginning counts"),
    ...some(wordless, "without words"),
  ].join(" · ");
}

/** Returns documents with their scores as items of a list. */
export function foundView(found) {
  return found.map(({ text, score }) => {
    const whole = Array.from(text.slice(0, 2 * LONGEST_DOCUMENT));
    const shown = whole.length > LONGEST_DOCUMENT ? `${whole.slice(0, LONGEST_DOCUMENT).join("")} …` : text;
    return make("li", "", make("span", "score", score.toFixed(3)), make("span", "text", shown));
  });
}

/** Returns the best of what was found as a sentence. */
export function foundSentence(found) {
  if (!found.length) return "Nothing found.";
  const [{ text, score }] = found;
  return `${counted(found.length)} found. Best, ${score.toFixed(3)}: ${text.slice(0, LONGEST_DOCUMENT)}`;
}
