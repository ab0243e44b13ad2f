/** A bundle's files from a folder on a server: no more bytes of each than the manifest says, and none that stalls. */

import { LARGEST, listedIn, NEEDED } from "./bundle.js";
import { BundleError } from "./errors.js";

const STALL = 30_000; // milliseconds in which something must come from the server

/**
 * Fetches the manifest of a bundle.
 *
 * @param {URL} base the address of its folder, with a slash at the end
 * @param {AbortSignal} [signal]
 * @returns {Promise<Blob>}
 */
export function fetchManifest(base, signal) {
  return fetchFile(base, "manifest.json", LARGEST["manifest.json"], signal);
}

/**
 * Fetches what a manifest lists, as far as it is read here.
 *
 * @param {URL} base
 * @param {Blob} manifest
 * @param {AbortSignal} [signal]
 * @param {(share: number) => void} [onProgress] told which share of the bytes is there, from 0 to 1
 * @returns {Promise<Map<string, Blob>>} the files by name, the manifest too
 */
export async function fetchListed(base, manifest, signal, onProgress) {
  const listed = listedIn(new Uint8Array(await manifest.arrayBuffer()));
  const names = NEEDED.filter((name) => listed.has(name)); // whoever reads the bundle says what it lacks
  const all = names.reduce((sum, name) => sum + listed.get(name).bytes, 0);
  let there = 0;
  const onBytes = (bytes) => onProgress?.(Math.min((there += bytes) / all, 1));
  const files = await Promise.all(
    names.map(async (name) => [name, await fetchFile(base, name, listed.get(name).bytes, signal, onBytes)]),
  );
  return new Map([["manifest.json", manifest], ...files]);
}

/** There is no network, or as good as none. */
export class NoAnswer extends BundleError {}

async function fetchFile(base, name, most, signal, onBytes) {
  const address = new URL(name, base);
  const failed = (reason, Kind = BundleError) =>
    new Kind(`${address.pathname} cannot be fetched: ${reason}; put a bundle into that folder, or open one from this device.`);
  const control = new AbortController();
  const stop = signal ? AbortSignal.any([signal, control.signal]) : control.signal;
  let timer;
  const patient = async (promise, reason) => {
    clearTimeout(timer);
    timer = setTimeout(() => control.abort(new Error("stall")), STALL);
    try {
      return await promise;
    } catch {
      const stalled = control.signal.reason?.message === "stall";
      throw failed(stalled ? `nothing came from the server for ${STALL / 1000} seconds` : reason, NoAnswer);
    } finally {
      clearTimeout(timer);
    }
  };
  const asked = fetch(address, { cache: "no-cache", signal: stop });
  const response = await patient(asked, "the server does not answer, or sends the page elsewhere");
  if (!response.ok) throw failed(`the server answers ${response.status}`);
  const answering = new URL(response.url).pathname;
  if (!answering.endsWith(`/${name}`)) throw failed(`the server sends the page on to ${answering.slice(0, 200)}`);
  const reader = response.body.getReader();
  const parts = [];
  for (let bytes = 0; ; ) {
    const { done, value } = await patient(reader.read(), "the server's answer breaks off");
    if (done) return new Blob(parts);
    bytes += value.length;
    onBytes?.(value.length);
    if (bytes > most) {
      control.abort();
      throw failed(`it has more than the ${most} bytes that it should have`);
    }
    parts.push(value);
  }
}
