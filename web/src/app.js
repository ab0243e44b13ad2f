/** The page: opens a bundle, answers what is typed as it is typed, and keeps both for the next time. */

import { filesOfBundle, listedFiles } from "./bundle.js";
import { isDocuments } from "./documents.js";
import { $, show } from "./dom.js";
import { EngineError } from "./engine.js";
import { BundleError, Ended, sentenceOf } from "./errors.js";
import { sized } from "./figures.js";
import { afterTyping, latest, SPOKEN_PAUSE } from "./latest.js";
import { load, prepare } from "./lilliput.js";
import { Search } from "./search.js";
import { droppedFiles, fetchBundle, forgetBundle, KEPT, keepBundle, keptBundle } from "./store.js";
import { answerSentence, answerView, bundleTitle, fillSizes, timeLine } from "./view.js";

const RUNS = 5; // of a fast model, of which the quickest time is shown
const TOP = 5; // classes that are shown, of thousands perhaps
const SLOW = 400; // milliseconds before the page says that it computes

let bundle = null; // the one that answers: its model, files, source, settings, and the colours of its slots
let opening = null; // what stops the bundle that is being opened
let asking = 0; // the latest question; answers to earlier ones are dropped
const search = new Search(keep);

function say(error) {
  if (error instanceof Ended) return;
  if (!(error instanceof BundleError)) console.error(error);
  $("problem").textContent = sentenceOf(error);
}

/** Opens the bundle that `find` returns: its files and whence they are. Says what is wrong where it cannot. */
async function open(find, { byHand = false } = {}) {
  opening?.abort();
  const control = (opening = new AbortController());
  const { signal } = control;
  $("problem").textContent = "";
  showOpening(0);
  show(["opening"], true);
  let found;
  try {
    found = await find(signal, (share) => opening === control && showOpening(share));
    const model = await load(found.files, { signal });
    use({ ...found, model, config: model.config, hues: new Map() });
    if (byHand) $("text").focus();
  } catch (error) {
    if (signal.aborted) return;
    say(error);
    if (found?.kept && !(error instanceof EngineError)) await forget(found.source);
  } finally {
    if (opening === control) {
      opening = null;
      $("busy").textContent = "";
      show(["opening"], false);
      if (!bundle) show(["choose"], true);
    }
  }
}

function showOpening(share) {
  $("busy").textContent = `Opening the bundle …${share ? ` ${Math.floor(100 * share)} %` : ""}`;
}

/** Forgets a kept bundle that does not open any more, so that the next visit begins without it. */
async function forget(source) {
  await forgetBundle(source);
  $("problem").textContent += " The page no longer keeps it.";
}

function use(opened) {
  bundle?.model.close();
  bundle = opened;
  const { title, kind } = bundleTitle(bundle.config);
  $("bundle-title").textContent = title;
  $("bundle-kind").textContent = kind;
  const sum = fillSizes($("bundle-files"), bundle.model.sizes);
  const { bytes, brotli } = shellSizes();
  $("bundle-size").textContent = `${sized(sum)} bundle · ${sized(bytes)} runtime, ${sized(brotli)} compressed`;
  $("text-label").textContent = bundle.model.two ? "First text" : "Your text";
  $("answer").replaceChildren();
  $("kept").textContent = bundle.kept ? KEPT : "";
  show(["second-field"], bundle.model.two);
  show(["mask"], bundle.config.kind === "fill");
  show(["choose"], false);
  show(["bundle", "ask", "result"], true);
  search.use(bundle);
  ask();
}

function shellSizes() {
  const files = Object.values(globalThis.SHELL.files);
  const sum = (key) => files.reduce((total, file) => total + file[key], 0);
  return { bytes: sum("bytes"), brotli: sum("brotli") };
}

function showShell() {
  const files = Object.entries(globalThis.SHELL.files).map(([name, { bytes }]) => [name, bytes]);
  fillSizes($("shell-files"), files);
  const { bytes, brotli } = shellSizes();
  $("shell-note").textContent =
    `The runtime is the same for every bundle and is fetched once: ${sized(bytes)}, or ${sized(brotli)} from a server ` +
    "that compresses with brotli.";
}

function hint(text, second) {
  const { two } = bundle.model;
  if (!text.trim() || (two && !second.trim())) {
    return two ? "Type two texts; the answer follows as you type." : "Type a text; the answer follows as you type.";
  }
  return bundle.config.kind === "fill" && !text.includes("[MASK]") ? "Put a [MASK] where a piece is to be guessed." : "";
}

function showHint(sentence) {
  const line = document.createElement("p");
  line.className = "hint";
  line.textContent = sentence;
  $("answer").replaceChildren(line);
  $("time").textContent = $("spoken").textContent = "";
}

/** Answers what stands in the fields; an answer that is still computed to what stood there before is dropped. */
function ask() {
  asking++;
  const texts = [$("text").value, $("second").value];
  const lacking = hint(...texts);
  if (lacking) {
    $("problem").textContent = "";
    showHint(lacking);
    return;
  }
  if ($("answer").firstChild?.className === "hint") $("answer").replaceChildren();
  answer(texts, asking, bundle);
}

const answer = latest(async (texts, mine, asked) => {
  const isWanted = () => mine === asking && asked === bundle;
  if (!isWanted()) return;
  const slow = setTimeout(() => show(["computing"], true), SLOW);
  try {
    const found = await asked.model.timed(texts, { top: TOP, runs: RUNS });
    if (isWanted()) showAnswer(found, texts);
    if (asked === bundle) keep(asked);
  } catch (error) {
    if (isWanted() && error instanceof Ended) showHint("Cancelled. Change the text to ask again.");
    else if (isWanted()) refuseAnswer(error);
  } finally {
    clearTimeout(slow);
    show(["computing"], false);
  }
});

function showAnswer({ answer, times }, texts) {
  const [mine, { config, hues }] = [asking, bundle];
  $("problem").textContent = "";
  $("answer").replaceChildren(...answerView(answer, texts, config, hues));
  $("time").textContent = timeLine({ answer, times, positions: config.positions });
  setTimeout(() => mine === asking && ($("spoken").textContent = answerSentence(answer, texts)), SPOKEN_PAUSE);
}

function refuseAnswer(error) {
  say(error);
  showHint("There is no answer to this text.");
}

/** Keeps a bundle once it has answered: one that crashes or hangs must not be there again after a reload. */
async function keep(answered) {
  if (answered.kept) return;
  answered.kept = true;
  $("kept").textContent = await keepBundle(answered.files, answered.source);
}

function listenToBundles() {
  for (const [button, input] of [["choose-folder", "folder"], ["choose-files", "files"]]) {
    $(button).addEventListener("click", () => $(input).click());
    $(input).addEventListener("change", () => {
      const files = listedFiles($(input).files);
      $(input).value = ""; // else the same folder could not be chosen again
      if (files.size) open(async () => ({ files: await filesOfBundle(files), source: "" }), { byHand: true });
    });
  }
  $("choose-example").addEventListener("click", () =>
    open((signal, onProgress) => fetchBundle("example", signal, onProgress), { byHand: true }),
  );
  const choosing = (on) => {
    show(["choose"], on);
    show(["back"], on && bundle !== null);
    $(on ? "choose-folder" : "change").focus();
  };
  $("change").addEventListener("click", () => choosing(true));
  $("back").addEventListener("click", () => choosing(false));
  $("stop-opening").addEventListener("click", () => {
    opening?.abort();
    if (!bundle) choosing(true);
  });
  $("stop-computing").addEventListener("click", () => {
    bundle?.model.stop();
    $("text").focus();
  });
  $("forget").addEventListener("click", async () => {
    const { model, source } = bundle;
    bundle = null;
    asking++;
    model.close();
    search.use(null);
    $("problem").textContent = $("kept").textContent = "";
    show(["bundle", "ask", "result"], false);
    await forgetBundle(source); // a page that is reloaded now must not find it
    if (!bundle) choosing(true);
  });
  listenToDrops();
}

function listenToDrops() {
  addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  addEventListener("dragleave", (event) => event.relatedTarget ?? document.body.classList.remove("dropping"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    const [file] = event.dataTransfer.files;
    if (event.dataTransfer.files.length === 1 && isDocuments(file)) {
      if (bundle?.config.kind === "encode") search.open(file);
      else say(new BundleError(`${file.name} is searched by vectors: ${bundle ? "this bundle gives none; " : ""}open a bundle of a sentence encoder first.`));
    } else if (file) {
      const dropped = droppedFiles(event.dataTransfer); // at once: what was dropped is gone after this event
      open(async () => ({ files: await filesOfBundle(await dropped), source: "" }), { byHand: true });
    }
  });
}

function listenToTexts() {
  afterTyping([$("text"), $("second")], () => bundle && ask());
  $("mask").addEventListener("click", () => {
    const field = $("text");
    field.setRangeText("[MASK]", field.selectionStart, field.selectionEnd, "end");
    field.focus();
    ask();
  });
}

/** Lets a worker keep the page, and says when that is done. */
async function keepPage() {
  try {
    await navigator.serviceWorker.register("sw.js");
    await navigator.serviceWorker.ready;
    $("offline").textContent = "Works without a network now: this browser keeps the page.";
  } catch {
    $("offline").textContent = "This browser does not keep the page; it needs the network each time.";
  }
}

async function start() {
  showShell();
  listenToBundles();
  listenToTexts();
  prepare().catch(say).then(keepPage);
  const folder = new URLSearchParams(location.search).get("bundle");
  if (folder !== null) return open((signal, onProgress) => fetchBundle(folder, signal, onProgress));
  const files = await keptBundle("");
  if (files) return open(() => ({ files, source: "", kept: true }));
  return show(["choose"], true);
}

start();
