/** What is wrong with a bundle or a text, in a sentence for its user. */
export class BundleError extends Error {}

/** What was computed is not wanted any more. */
export class Ended extends Error {}

/** What to do about a bundle that is damaged. */
export const AGAIN = "fetch the bundle again, or export it again";

/** Returns what is said of an error: its own sentence, or that the page failed. */
export function sentenceOf(error) {
  return error instanceof BundleError ? error.message : `The page failed (${error.message}); load it again.`;
}

/** Returns the first line of what a library says, shortened. */
export function firstLine(error) {
  const line = String(error?.message ?? error).split("\n")[0];
  return line.length > 300 ? `${line.slice(0, 300)} …` : line;
}
