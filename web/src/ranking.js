/** Numbers and vectors -> which are the largest, or the most alike. */

const FEW = 50;

/** Returns the indices of the largest values, the largest first and of equal ones the first. */
export function largest(values, count) {
  if (count > FEW) return Array.from(values.keys()).sort((a, b) => values[b] - values[a] || a - b).slice(0, count);
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

/** Returns a vector at length 1; one of zeros stays as it is. */
export function unit(vector) {
  let squares = 0;
  for (const value of vector) squares += value * value;
  const length = Math.sqrt(squares) || 1;
  return vector.map((value) => value / length);
}

/** Vectors of documents at length 1, side by side: 4 bytes a number. */
export class Index {
  /**
   * @param {number} count of documents; those whose vectors are not put in are never found
   * @param {number} width of a vector
   */
  constructor(count, width) {
    this.count = count;
    this.width = width;
    this.vectors = new Float32Array(count * width);
    this.here = new Uint8Array(count);
  }

  /** Puts in the vector of the document at a place. */
  put(place, vector) {
    this.vectors.set(unit(vector), place * this.width);
    this.here[place] = 1;
  }

  /**
   * Returns the documents whose vectors are most like one: the highest cosine first, of equal ones the first document.
   *
   * @param {Float32Array} vector
   * @param {number} top how many, at most
   * @returns {{place: number, score: number}[]}
   */
  best(vector, top) {
    const [query, scores] = [unit(vector), new Float32Array(this.count)];
    for (let place = 0, at = 0; place < this.count; place++) {
      let sum = 0;
      for (let column = 0; column < this.width; column++) sum += query[column] * this.vectors[at++];
      scores[place] = this.here[place] ? sum : -Infinity;
    }
    const best = largest(scores, top).filter((place) => this.here[place]);
    return best.map((place) => ({ place, score: scores[place] }));
  }
}
