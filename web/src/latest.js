/** What is done while someone types: after a pause, one thing at a time, and for what was typed last. */

export const PAUSE = 120; // milliseconds after a key, before an answer
export const SPOKEN_PAUSE = 900; // before an answer is spoken, so that a screen reader is not interrupted by every key

/** Returns what does a task with the latest arguments; while the task is busy, those that come between are dropped. */
export function latest(task) {
  let waiting = null;
  let busy = false;
  return async (...given) => {
    waiting = given;
    if (busy) return;
    busy = true;
    try {
      while (waiting) {
        const now = waiting;
        waiting = null;
        await task(...now);
      }
    } finally {
      busy = false;
    }
  };
}

/** Does something a moment after each key in some fields, once they rest. */
export function afterTyping(fields, task) {
  let timer;
  for (const field of fields) {
    field.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(task, PAUSE);
    });
  }
}
