// What is kept and what can be searched: media by /v1/media, and the collection `library` in which the page puts them.
import { askJson } from "./api.js";
import { onKeyChange } from "./key.js";

/** The collection of what is uploaded here. It is made by the first medium that is put into it. */
export const LIBRARY = "library";

let libraryThere = false; // once it is, it is not asked for again
onKeyChange(() => (libraryThere = false));

/** All collections that one may search, as /v1/collections tells them. */
export async function collections(options = {}) {
  const { data } = await askJson("v1/collections", options);
  libraryThere = data.some(({ name, aliases }) => name === LIBRARY || aliases.includes(LIBRARY));
  return data;
}

/** A page of media, newest first; `after`: the last one's id of the page before. */
export function mediaPage({ after = null, kind = null, limit = 24, signal } = {}) {
  return askJson("v1/media", { query: { after, kind, limit }, signal });
}

/** Put a medium into the library's collection, so that it can be found. Its document has the medium's id. */
export async function makeSearchable({ id, filename }, { signal } = {}) {
  const metadata = filename ? { filename: filename.slice(0, 255) } : {};
  const made = await askJson(documentsOf(LIBRARY), { json: { media_id: id, id, metadata }, signal });
  libraryThere = true;
  return made;
}

/** Take a medium out of the library's collection; the medium stays. */
export function takeOut(id) {
  return askJson(`${documentsOf(LIBRARY)}/${encodeURIComponent(id)}`, { method: "DELETE" });
}

/** Delete a medium for good, and with it what was found in it. */
export function deleteMedium(id) {
  return askJson(`v1/media/${encodeURIComponent(id)}`, { method: "DELETE" });
}

/** Those of some documents (100 at most) that are in a collection, by id; `include`: more than their metadata. */
export async function documentsById(collection, ids, { include = [], signal } = {}) {
  if (!ids.length) return new Map();
  const query = new URLSearchParams([...ids.map((id) => ["id", id]), ["include", "metadata"], ...include.map((one) => ["include", one])]);
  const { data } = await askJson(`${documentsOf(collection)}?${query}`, { signal });
  return new Map(data.map((document) => [document.id, document]));
}

/** The same of the library's collection, which need not be there yet. */
export async function inLibrary(ids, options = {}) {
  return ids.length && (await isThere(options.signal)) ? documentsById(LIBRARY, ids, options) : new Map();
}

/** Documents of a collection that are all but the same as one of it: hits with `same_content`. */
export async function nearDuplicates(id, threshold, { signal } = {}) {
  const path = `${documentsOf(LIBRARY)}/${encodeURIComponent(id)}/near-duplicates`;
  return (await askJson(path, { query: { threshold, limit: 12 }, signal })).data;
}

/** A map of a collection; see the API. */
export function mapOf(collection, { count, limit, signal } = {}) {
  return askJson(`v1/collections/${encodeURIComponent(collection)}/map`, { json: { count, limit, include: ["metadata"] }, signal });
}

/** Whether there is the library's collection yet. */
export async function isThere(signal) {
  if (!libraryThere) await collections({ signal });
  return libraryThere;
}

function documentsOf(collection) {
  return `v1/collections/${encodeURIComponent(collection)}/documents`;
}
