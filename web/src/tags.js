/**
 * Tags of words -> slots, by the rules of src/lilliput/inference/tags.py, which says why; tests/tags.json tests both.
 *
 * A tag is O, a letter with a name (B-city), or a name alone (NOUN). Which letters count is decided on all tags of a
 * model, as a name may look like a letter with a name (E-mail).
 */

const [GO_ON, CLOSE] = ["IMEL", "ELSUW"];
const FAMILIES = ["ESMW", "LU"]; // letters that count beside B and I where a name of theirs stands with B or I too
const LETTERED = /^(.)-([^]+)$/su;

/** Returns the letters that count in the tags of a model; none where all are names alone. */
export function lettersOf(tags) {
  const names = new Map();
  for (const tag of tags) {
    const [, letter, name] = LETTERED.exec(tag) ?? [];
    if (letter) names.set(letter, (names.get(letter) ?? new Set()).add(name));
  }
  const known = new Set([...(names.get("B") ?? []), ...(names.get("I") ?? [])]);
  if (!known.size) return "";
  const shared = (letter) => [...(names.get(letter) ?? [])].some((name) => known.has(name));
  return ["BI", ...FAMILIES.filter((family) => [...family].some(shared))].join("");
}

/**
 * Returns the slots that the tags of a text's words make.
 *
 * @param {{start: number, end: number, tag: string, probability: number}[]} words
 * @param {string} letters that count, from lettersOf
 * @returns {{name: string, start: number, end: number, probability: number}[]}
 */
export function joinTags(words, letters) {
  const slots = [];
  let before = { letter: "", name: "O" };
  let ended = 0;
  for (const { start, end, tag, probability } of words) {
    const [, found, rest] = LETTERED.exec(tag) ?? [];
    const letter = found && letters.includes(found) ? found : "";
    const name = letter ? rest : tag;
    const goesOn = letter ? GO_ON.includes(letter) : slots.length > 0 && start === ended;
    const fits = name === before.name && !letter === !before.letter && !(before.letter && CLOSE.includes(before.letter));
    const last = slots.at(-1);
    if (tag !== "O" && goesOn && fits && last) {
      last.end = end;
      last.probability = Math.min(last.probability, probability);
    } else if (tag !== "O") {
      slots.push({ name, start, end, probability });
    }
    before = { letter, name };
    ended = end;
  }
  return slots;
}
