/** A visitor of the page, in a browser of its own for each test; what is called `odd` answers in the place of files. */

import { join } from "node:path";
import { after, afterEach, before, beforeEach } from "node:test";

import { launch, serve } from "./browser.mjs";

export const BUNDLES = process.env.LILLIPUT_BUNDLES;
export const skip = BUNDLES ? false : "run by tests/test_web.py, which makes the bundles";
const DIST = process.env.LILLIPUT_DIST ?? join(import.meta.dirname, "..", "dist");

/** Returns a visitor, whose browser and server start before the tests of a file and end after them. */
export function visitor(odd = {}) {
  const one = new Visitor();
  before(async () => {
    if (!skip) one.browser = await launch();
  });
  after(() => one.browser?.close());
  beforeEach(async () => {
    if (skip) return;
    one.server = await serve(DIST, BUNDLES, odd);
    one.context = await one.browser.newContext();
    one.context.setDefaultTimeout(60_000); // the processor may be shared
    one.page = await one.context.newPage();
  });
  afterEach(async () => {
    await one.context?.close();
    await one.server?.stop();
  });
  return one;
}

class Visitor {
  /** Goes to the page of a path, with a bundle beside it. */
  open(bundle, path = "") {
    return this.page.goto(`${this.server.address}${path}?bundle=${bundle}`);
  }

  /** Waits for a sentence that says what is wrong. */
  problem(pattern) {
    return this.page.locator("#problem", { hasText: pattern }).waitFor();
  }

  answered() {
    return this.page.locator("#time", { hasText: "ms" }).waitFor();
  }

  async ask(text, second = "another") {
    await this.page.locator("#text").fill(text);
    if (await this.page.locator("#second").isVisible()) await this.page.locator("#second").fill(second);
  }

  /** Chooses a bundle of this device and asks it something. */
  async choose(kind, ...texts) {
    await this.page.locator("#folder").setInputFiles(join(BUNDLES, "float32", kind));
    await this.page.locator("#text:focus").waitFor();
    await this.ask(...texts);
    await this.answered();
    await this.page.locator("#kept", { hasText: "keep" }).waitFor(); // or why not
  }

  /** Has the page forget its bundle, and waits until it has. */
  async forget() {
    await this.page.locator("#forget").click();
    await this.page.locator("#choose-folder:focus").waitFor();
  }

  /** Returns the title of the bundle that a page opens by itself; nothing where it asks for one. */
  async opensWith(path = "") {
    await this.page.goto(`${this.server.address}${path}`);
    await this.page.locator("#choose:not([hidden]), #bundle:not([hidden])").waitFor();
    return (await this.page.locator("#choose").isVisible()) ? "" : this.page.locator("#bundle-title").textContent();
  }
}
