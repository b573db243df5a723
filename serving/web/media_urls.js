// Addresses that images and players can load: elements send no key, so pictures come as blobs and players get links.
import { address, ask, askJson } from "./api.js";
import { onKeyChange } from "./key.js";

const MOST_BLOBS = 300;
const MOST_BYTES = 256 * 2 ** 20;
const LINK_SECONDS = 3600;

const blobs = new Map(); // path to { found: a promise of an address, bytes }; oldest use first
const links = new Map(); // id to { address, until }

onKeyChange(() => {
  for (const path of [...blobs.keys()]) dropBlob(path);
  links.clear();
});

/**
 * A thumbnail's address, its longer side at most `side` pixels; `at`: the moment of a video, in seconds.
 * Keeps the last 300 pictures, as long as they are not too large together.
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
  const known = blobs.get(key);
  if (known) {
    blobs.delete(key); // and in again, as the latest
    blobs.set(key, known);
    return known.found;
  }
  const kept = { bytes: 0 };
  kept.found = ask(path, { query }).then((answer) => answer.blob()).then((blob) => {
    if (blob.type.startsWith("image/")) kept.bytes = blob.size; // players read theirs again and again: those stay
    dropOldest();
    return URL.createObjectURL(blob);
  });
  blobs.set(key, kept);
  kept.found.catch(() => {
    if (blobs.get(key) === kept) blobs.delete(key);
  });
  dropOldest();
  return kept.found;
}

/** All but the latest may go. */
function dropOldest() {
  let bytes = [...blobs.values()].reduce((sum, one) => sum + one.bytes, 0);
  while (blobs.size > 1 && (blobs.size > MOST_BLOBS || bytes > MOST_BYTES)) {
    const [key, oldest] = blobs.entries().next().value;
    bytes -= oldest.bytes;
    dropBlob(key);
  }
}

function dropBlob(key) {
  blobs.get(key).found.then((url) => URL.revokeObjectURL(url), () => {});
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
