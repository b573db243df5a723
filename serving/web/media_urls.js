// Addresses that images and players can load: elements send no key, so pictures come as blobs and players get links.
import { address, ask, askJson } from "./api.js";
import { onKeyChange } from "./key.js";

const MOST_BLOBS = 300;
const LINK_SECONDS = 3600;

const blobs = new Map(); // path to a promise of an address; oldest use first
const links = new Map(); // id to { address, until }

onKeyChange(() => {
  for (const path of [...blobs.keys()]) dropBlob(path);
  links.clear();
});

/**
 * A thumbnail's address, its longer side at most `side` pixels; `at`: the moment of a video, in seconds.
 * Keeps the last 300.
 */
export function thumbnailUrl(id, { side = 256, at = null } = {}) {
  return blobUrl(`v1/media/${encodeURIComponent(id)}/thumbnail`, { size: side, time_seconds: at });
}

/** The whole medium as a blob's address: for pictures. */
export function contentUrl(id) {
  return blobUrl(`v1/media/${encodeURIComponent(id)}/content`);
}

function blobUrl(path, query = {}) {
  const key = address(path, query).href;
  let found = blobs.get(key);
  if (found) blobs.delete(key); // and in again, as the latest
  found ??= ask(path, { query }).then((answer) => answer.blob()).then((blob) => URL.createObjectURL(blob));
  blobs.set(key, found);
  found.catch(() => blobs.delete(key));
  if (blobs.size > MOST_BLOBS) dropBlob(blobs.keys().next().value);
  return found;
}

function dropBlob(key) {
  blobs.get(key).then((url) => URL.revokeObjectURL(url), () => {});
  blobs.delete(key);
}

/**
 * An address that a player can stream from and seek in, for an hour. Where links lead to another server (S3) the
 * page may not follow them: then the whole medium comes as a blob.
 */
export async function playableUrl(id) {
  const known = links.get(id);
  if (known && known.until > Date.now()) return known.address;
  const link = await askJson(`v1/media/${encodeURIComponent(id)}/link`, { json: { expires_in_seconds: LINK_SECONDS } });
  const { pathname } = new URL(link.url);
  const token = /\/v1\/links\/([^/]+)$/.exec(pathname);
  if (!token) return contentUrl(id);
  const found = address(`v1/links/${token[1]}`).href;
  links.set(id, { address: found, until: link.expires_at * 1000 - 60_000 });
  return found;
}

/** Forget what is kept of a medium that was deleted. */
export function forgetMedium(id) {
  links.delete(id);
  for (const key of [...blobs.keys()]) if (key.includes(`/${encodeURIComponent(id)}/`)) dropBlob(key);
}
