/**
 * Keeps the page, so that it opens without a network.
 *
 * `shell.js` is written by build.mjs: the page's files and a version made of their digests. Another version is another
 * script to the browser, which then fetches all files anew and drops the old ones. Bundles are not kept here but by
 * store.js. The cache is named by the page's path, as pages of other paths share the storage.
 */

importScripts("shell.js");

const HOME = new URL("./", self.location);
const PREFIX = `lilliput-shell ${HOME.pathname} `;
const NAME = PREFIX + self.SHELL.version;
const PAGE = new URL("index.html", self.location).href;
const NAMES = ["shell.js", ...Object.keys(self.SHELL.files)];
const FILES = new Set(NAMES.map((name) => new URL(name, self.location).href));
const BEFORE = /^lilliput-(shell-[0-9a-f]{16}|bundle)$/; // how caches were named before paths were in their names

self.addEventListener("install", (event) => {
  event.waitUntil(keep().then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  event.waitUntil(dropOthers().then(() => self.clients.claim()));
});

self.addEventListener("fetch", (event) => {
  const address = new URL(event.request.url);
  address.search = address.hash = "";
  if (address.href === HOME.href) address.href = PAGE;
  if (event.request.method !== "GET" || !FILES.has(address.href)) return; // to the network, as without this worker
  event.respondWith(kept(address.href, event.request));
});

async function keep() {
  const cache = await caches.open(NAME);
  await cache.addAll([...FILES].map((address) => new Request(address, { cache: "no-cache" })));
}

async function dropOthers() {
  for (const name of await caches.keys()) {
    if (name !== NAME && (name.startsWith(PREFIX) || (BEFORE.test(name) && (await holdsThisPage(name))))) await caches.delete(name);
  }
}

async function holdsThisPage(name) {
  const cache = await caches.open(name);
  return Boolean((await cache.match(PAGE)) ?? (await cache.match(new URL("kept-bundle/manifest.json", HOME))));
}

async function kept(address, request) {
  const cache = await caches.open(NAME);
  return (await cache.match(address)) ?? fetch(request);
}
