/** What is wrong with a bundle or a text, in a sentence for its user. */
export class BundleError extends Error {}

/** What to do about a bundle that is damaged. */
export const AGAIN = "fetch the bundle again, or export it again";

/** Returns the first line of what a library says, shortened. */
export function firstLine(error) {
  const line = String(error?.message ?? error).split("\n")[0];
  return line.length > 300 ? `${line.slice(0, 300)} …` : line;
}
