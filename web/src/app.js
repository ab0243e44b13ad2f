/** The page: opens a bundle, answers what is typed as it is typed, and keeps both for the next time. */

import { Tokenizer } from "./tokenizers.min.mjs";
import * as ort from "./ort.wasm.min.mjs";

import { BundleError, readBundle } from "./bundle.js";
import { openModel } from "./model.js";
import { droppedFiles, fetchBundle, forgetBundle, keepBundle, keptBundle, listedFiles } from "./store.js";
import { answerSentence, answerView, bundleTitle, fillSizes, sized, timeLine } from "./view.js";

const RUNS = 5;
const PATIENCE = 150; // milliseconds that repeated runs may take; a slow model runs once
const PAUSE = 120; // after a key, before an answer
const SPOKEN_PAUSE = 900; // before it is spoken, so that a screen reader is not interrupted by every key

const $ = (id) => document.getElementById(id);
let model = null;
let hues = new Map(); // the colours of the model's slots, by name
let opening = 0; // the latest bundle to be opened; earlier ones still under way are dropped
let asking = 0; // the same of answers
let running = Promise.resolve(); // the network answers one text at a time

ort.env.wasm.numThreads = 1; // more need headers that a plain server does not send
ort.env.wasm.wasmPaths = new URL("./", import.meta.url).href;

function show(ids, shown) {
  for (const id of ids) $(id).hidden = !shown;
}

function say(error) {
  if (!(error instanceof BundleError)) console.error(error);
  const sentence = error instanceof BundleError ? error.message : `The page failed (${error.message}); load it again.`;
  $("problem").textContent = sentence;
}

/** Opens the bundle that `find` returns: its files and whence they are. Says what is wrong where it cannot. */
async function open(find, { byHand = false, keep = true } = {}) {
  const mine = ++opening;
  $("problem").textContent = "";
  $("busy").textContent = "Opening the bundle …";
  try {
    const { files, source } = await find();
    const bundle = await readBundle(files);
    const opened = await openModel(bundle, { ort, Tokenizer });
    if (mine !== opening) return await opened.close();
    await use(opened, bundle);
    if (keep) await keepBundle(bundle.files, source);
    if (byHand) $("text").focus();
  } catch (error) {
    if (mine !== opening) return;
    say(error);
    if (!model) show(["choose"], true);
  } finally {
    if (mine === opening) $("busy").textContent = "";
  }
}

async function use(opened, bundle) {
  const before = model;
  model = opened;
  hues = new Map();
  asking++;
  await running;
  await before?.close();
  const { title, kind } = bundleTitle(bundle.config);
  $("bundle-title").textContent = title;
  $("bundle-kind").textContent = kind;
  const sum = fillSizes($("bundle-files"), bundle.sizes);
  const { bytes, brotli } = shellSizes();
  $("bundle-size").textContent = `${sized(sum)} bundle · ${sized(bytes)} runtime, ${sized(brotli)} compressed`;
  $("text-label").textContent = model.two ? "First text" : "Your text";
  show(["second-field"], model.two);
  show(["mask"], model.kind === "fill");
  show(["choose"], false);
  show(["bundle", "ask", "result"], true);
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
  if (!text.trim() || (model.two && !second.trim())) {
    return model.two ? "Type two texts; the answer follows as you type." : "Type a text; the answer follows as you type.";
  }
  return model.kind === "fill" && !text.includes("[MASK]") ? "Put a [MASK] where a piece is to be guessed." : "";
}

/** Answers what stands in the fields; once newer text is there, it leaves off. */
function ask() {
  const mine = ++asking;
  const texts = [$("text").value, $("second").value];
  const lacking = hint(...texts);
  if (lacking) {
    const line = document.createElement("p");
    line.className = "hint";
    line.textContent = lacking;
    $("answer").replaceChildren(line);
    $("time").textContent = $("spoken").textContent = "";
    return;
  }
  running = running.then(() => answer(mine, texts));
}

async function answer(mine, texts) {
  if (mine !== asking) return;
  try {
    const asked = model;
    const times = [];
    const begun = performance.now();
    let found;
    do {
      const started = performance.now();
      found = await asked.answer(...texts);
      times.push(performance.now() - started);
    } while (times.length < RUNS && performance.now() - begun < PATIENCE);
    if (mine !== asking) return;
    $("problem").textContent = "";
    $("answer").replaceChildren(...answerView(found, texts, hues));
    $("time").textContent = timeLine({ answer: found, times, positions: asked.config.positions });
    setTimeout(() => mine === asking && ($("spoken").textContent = answerSentence(found, texts)), SPOKEN_PAUSE);
  } catch (error) {
    say(error);
  }
}

function listenToBundles() {
  for (const [button, input] of [["choose-folder", "folder"], ["choose-files", "files"]]) {
    $(button).addEventListener("click", () => $(input).click());
    $(input).addEventListener("change", () => {
      const files = listedFiles($(input).files);
      $(input).value = ""; // else the same folder could not be chosen again
      if (files.size) open(() => ({ files, source: "" }), { byHand: true });
    });
  }
  const choosing = (on) => {
    show(["choose"], on);
    show(["back"], on && model !== null);
    $(on ? "choose-folder" : "change").focus();
  };
  $("change").addEventListener("click", () => choosing(true));
  $("back").addEventListener("click", () => choosing(false));
  $("forget").addEventListener("click", async () => {
    const before = model;
    model = null;
    asking++;
    show(["bundle", "ask", "result"], false);
    choosing(true);
    await Promise.all([forgetBundle(), running.then(() => before.close())]);
  });
  addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  addEventListener("dragleave", (event) => event.relatedTarget ?? document.body.classList.remove("dropping"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    if (event.dataTransfer.files.length) {
      const dropped = droppedFiles(event.dataTransfer); // at once: what was dropped is gone after this event
      open(async () => ({ files: await dropped, source: "" }), { byHand: true });
    }
  });
}

function listenToTexts() {
  let timer;
  for (const id of ["text", "second"]) {
    $(id).addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => model && ask(), PAUSE);
    });
  }
  $("mask").addEventListener("click", () => {
    const field = $("text");
    field.setRangeText("[MASK]", field.selectionStart, field.selectionEnd, "end");
    field.focus();
    ask();
  });
}

/** Lets a worker keep the page, and says when that is done. */
async function keepPage() {
  if (!navigator.serviceWorker) return;
  try {
    await navigator.serviceWorker.register("sw.js");
    await navigator.serviceWorker.ready;
    $("offline").textContent = "Works without a network now: this browser keeps the page and the bundle.";
  } catch {
    $("offline").textContent = "This browser does not keep the page; it needs the network each time.";
  }
}

async function start() {
  showShell();
  listenToBundles();
  listenToTexts();
  keepPage();
  const folder = new URLSearchParams(location.search).get("bundle");
  if (folder !== null) return open(() => fetchBundle(folder));
  const files = await keptBundle(null);
  if (files) return open(() => ({ files }), { keep: false });
  return show(["choose"], true);
}

start();
