/** Searches documents of this device: embeds them, and ranks them as one types by how like they are to the query. */

import { documentsOf, groups, readDocuments } from "./documents.js";
import { $, show } from "./dom.js";
import { BundleError, Ended, sentenceOf } from "./errors.js";
import { counted, milliseconds } from "./figures.js";
import { afterTyping, latest, SPOKEN_PAUSE } from "./latest.js";
import { Index } from "./ranking.js";
import { documentsLine, foundSentence, foundView } from "./view.js";

const TOP = 10;

export class Search {
  #answered; // what is done with a bundle that has answered
  #bundle = null;
  #table = null; // the file that was read
  #ready = null; // its documents: their texts and their index
  #reading = null; // what stops the documents that are being embedded
  #asking = 0; // the latest query; what is found for earlier ones is dropped
  #find = latest((text, mine) => this.#found(text, mine));

  constructor(answered) {
    this.#answered = answered;
    $("choose-documents").addEventListener("click", () => $("documents").click());
    $("documents").addEventListener("change", () => {
      const [file] = $("documents").files;
      $("documents").value = ""; // else the same file could not be chosen again
      if (file) this.open(file);
    });
    $("column").addEventListener("change", () => {
      this.#clear();
      this.#task((signal) => this.#embed(this.#table, Number($("column").value), signal));
    });
    $("stop-reading").addEventListener("click", () => this.#stop());
    afterTyping([$("query")], () => this.#ask());
  }

  /** Takes another bundle, or none; what was searched with the one before is gone, as its vectors are of another space. */
  use(bundle) {
    this.#bundle = bundle;
    this.#reading?.abort();
    this.#table = null;
    this.#clear();
    $("query").value = $("search-problem").textContent = "";
    show(["column-field"], false);
    show(["search"], bundle?.config.kind === "encode");
  }

  /** Reads a file of documents and embeds them; where it cannot, says what is wrong, and keeps those before. */
  open(file) {
    return this.#task(async (signal) => {
      const table = await readDocuments(file);
      signal.throwIfAborted();
      await this.#embed(table, table.chosen, signal);
      $("query").focus();
    });
  }

  /** Does something that takes a while in the place of what is being done, and shows that. */
  async #task(task) {
    this.#reading?.abort();
    const control = (this.#reading = new AbortController());
    $("search-problem").textContent = "";
    try {
      await task(control.signal);
    } catch (error) {
      if (control.signal.aborted) return;
      this.#say(error);
    } finally {
      if (this.#reading === control) {
        this.#reading = null;
        show(["reading"], false);
      }
    }
  }

  async #embed(table, column, signal) {
    const bundle = this.#bundle;
    const { texts, empty } = documentsOf(table, column, bundle.model.width);
    this.#clear();
    if (table !== this.#table) this.#showColumns(table);
    this.#table = table;
    const index = new Index(texts.length, bundle.model.width);
    const [begun, left] = [performance.now(), { empty, cut: 0, wordless: 0 }];
    this.#progress(0, texts.length);
    show(["reading"], true);
    let done = 0;
    for (const places of groups(texts)) {
      const { vectors, cut, wordless } = await this.#vectors(places.map((place) => texts[place]), signal);
      places.forEach((place, row) => {
        if (!wordless.includes(row)) index.put(place, vectors[row]);
      });
      left.cut += cut.length;
      left.wordless += wordless.length;
      this.#progress((done += places.length), texts.length);
    }
    if (left.wordless === texts.length) throw new BundleError(`No document of ${table.name} has words; choose another file.`);
    this.#ready = { texts, index };
    $("documents-line").textContent = documentsLine(table.name, texts.length, left, performance.now() - begun);
    show(["query-field"], true);
    this.#answered(bundle);
    this.#ask();
  }

  /** Returns vectors; asks another worker where the one that was asked is ended by what else it was asked. */
  async #vectors(texts, signal) {
    const bundle = this.#bundle;
    for (;;) {
      signal?.throwIfAborted();
      if (bundle !== this.#bundle) throw new Ended();
      try {
        const found = await bundle.model.encode(texts);
        signal?.throwIfAborted();
        return found;
      } catch (error) {
        if (!(error instanceof Ended)) throw error;
      }
    }
  }

  #progress(done, all) {
    $("progress").max = all;
    $("progress").value = done;
    $("reading-label").textContent = `${counted(done)} of ${counted(all)} documents are read …`;
  }

  #stop() {
    this.#reading?.abort();
    this.#reading = null;
    this.#clear();
    $("documents-line").textContent = "Cancelled. There is nothing to search; choose a file, or a column.";
    $("choose-documents").focus();
  }

  /** Takes away the documents, and what was found in them. */
  #clear() {
    this.#asking++;
    this.#ready = null;
    $("found").replaceChildren();
    $("documents-line").textContent = $("search-line").textContent = $("search-spoken").textContent = "";
    show(["reading", "query-field"], false);
  }

  #showColumns({ columns, chosen }) {
    $("column").replaceChildren(...columns.map(({ name }, place) => new Option(name, place, false, place === chosen)));
    show(["column-field"], columns[0].name !== "");
  }

  /** Searches for what stands in the field. */
  #ask() {
    const text = $("query").value;
    this.#asking++;
    if (text.trim() && this.#ready) return this.#find(text, this.#asking);
    $("found").replaceChildren();
    $("search-problem").textContent = $("search-spoken").textContent = "";
    $("search-line").textContent = "Type what to look for. As long as there is nothing, no document is shown.";
  }

  async #found(text, mine) {
    if (mine !== this.#asking) return;
    const [{ texts, index }, begun] = [this.#ready, performance.now()];
    try {
      const { vectors, wordless } = await this.#vectors([text]);
      if (mine !== this.#asking) return;
      const best = wordless.length ? [] : index.best(vectors[0], TOP).map(({ place, score }) => ({ text: texts[place], score }));
      const took = milliseconds(performance.now() - begun);
      $("search-problem").textContent = "";
      $("found").replaceChildren(...foundView(best));
      $("search-line").textContent = best.length
        ? `The ${best.length} most alike, by cosine · ${took} · one thread`
        : "There are no words in this query, only characters without a meaning.";
      setTimeout(() => mine === this.#asking && ($("search-spoken").textContent = foundSentence(best)), SPOKEN_PAUSE);
    } catch (error) {
      if (mine === this.#asking) this.#say(error);
    }
  }

  #say(error) {
    if (error instanceof Ended) return;
    $("search-problem").textContent = sentenceOf(error);
  }
}
