/**
 * Keeps the page, so that it opens without a network.
 *
 * `shell.js` is written by build.mjs: the page's files and a version made of their digests. Another version is another
 * script to the browser, which then fetches all files anew and drops the old ones. Bundles are not kept here but by
 * store.js.
 */

importScripts("shell.js");

const PREFIX = "lilliput-shell-";
const NAME = PREFIX + self.SHELL.version;
const PAGE = new URL("index.html", self.location).href;
const NAMES = ["shell.js", ...Object.keys(self.SHELL.files)];
const FILES = new Set(NAMES.map((name) => new URL(name, self.location).href));

self.addEventListener("install", (event) => {
  event.waitUntil(keep().then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  event.waitUntil(dropOthers().then(() => self.clients.claim()));
});

self.addEventListener("fetch", (event) => {
  const address = new URL(event.request.url);
  address.search = address.hash = "";
  if (address.href === new URL("./", self.location).href) address.href = PAGE;
  if (event.request.method !== "GET" || !FILES.has(address.href)) return; // to the network, as without this worker
  event.respondWith(kept(address.href, event.request));
});

async function keep() {
  const cache = await caches.open(NAME);
  await cache.addAll([...FILES].map((address) => new Request(address, { cache: "no-cache" })));
}

async function dropOthers() {
  const old = (await caches.keys()).filter((name) => name.startsWith(PREFIX) && name !== NAME);
  await Promise.all(old.map((name) => caches.delete(name)));
}

async function kept(address, request) {
  const cache = await caches.open(NAME);
  return (await cache.match(address)) ?? fetch(request);
}
