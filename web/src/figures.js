/** Numbers as people say them. */

/** Returns a whole number with commas: 50,000. */
export function counted(number) {
  return number.toLocaleString("en");
}

/** Returns bytes: 1.98 MB, 86 kB. */
export function sized(bytes) {
  const [value, unit] = bytes >= 999_500 ? [bytes / 1e6, "MB"] : bytes >= 1000 ? [bytes / 1e3, "kB"] : [bytes, "bytes"];
  const digits = unit === "bytes" || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${value.toFixed(digits)} ${unit}`;
}

export function percent(probability) {
  const value = 100 * probability;
  return value > 0 && value < 0.1 ? "< 0.1 %" : `${value.toFixed(1)} %`;
}

/** Returns milliseconds with as many digits as a browser's clock has. */
export function milliseconds(value) {
  return value < 0.1 ? "under 0.1 ms" : `${value.toFixed(value < 100 ? 1 : 0)} ms`;
}
