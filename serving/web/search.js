// Finding anything by anything: words, pictures, recordings, videos, and what was found before.
import { askJson } from "./api.js";
import { add, fill, h, newId } from "./dom.js";
import { takeFiles } from "./drop.js";
import { counted, percent } from "./formats.js";
import { hitCard, kindsFound, nameOf } from "./hit.js";
import { icon } from "./icons.js";
import { onKeyChange } from "./key.js";
import { kindButtons } from "./kinds.js";
import { announce, complain } from "./notices.js";
import { queryBox } from "./query_box.js";
import { go, noteRoute, routeTo } from "./router.js";
import { collections, LIBRARY } from "./shelf.js";

export const styles = ["kinds.css", "search.css", "moments.css"];

const PAGE = 12;
const MODES = { vector: "what is meant", hybrid: "meaning and words", text: "words only" };

export function create() {
  const box = queryBox({ onSearch: search });
  const kinds = kindButtons(["image", "video", "audio", "text"], (chosen) => { wanted.kinds = chosen; again(); }, { label: "Find only" });
  const modeId = newId("mode");
  const placeId = newId("place");
  const mode = h("select", { id: modeId, onchange: () => { wanted.mode = mode.value; again(); } },
    Object.entries(MODES).map(([value, words]) => h("option", { value }, words)));
  const place = h("select", { id: placeId, onchange: () => { wanted.collection = place.value; again(); } });
  const summary = h("p", { class: "quiet search-summary" });
  const results = h("ul", { class: "hits", "aria-label": "Results" });
  const more = h("button", { type: "button", hidden: true, onclick: () => ask({ more: true }).catch(complain) }, "Show more");
  const empty = h("div", { class: "search-empty" });
  const element = h(
    "section",
    { class: "view stack", "aria-labelledby": "search-title" },
    h("h1", { id: "search-title" }, "Search"),
    box.element,
    h("div", { class: "row options" }, kinds,
      h("div", { class: "row small" }, h("label", { class: "quiet", for: modeId }, "by"), mode),
      h("div", { class: "row small" }, h("label", { class: "quiet", for: placeId }, "in"), place)),
    summary,
    empty,
    results,
    h("div", { class: "row search-more" }, more),
  );

  const wanted = { kinds: [], mode: "vector", collection: null };
  let page = null; // { body, cursor, best, score, hits } of what is shown
  let asking = null;
  let shownRoute = null; // whoever comes back to it finds it as it was
  let placed = Promise.resolve(); // once it is known what there is to search
  let named = null; // the collection that the address names
  let fillings = 0;
  let searches = 0;

  /** Offer the collections there are, and choose the one `asked` for, else the one of before, else the likeliest. */
  async function fillPlaces(asked, options) {
    const mine = (fillings += 1);
    const found = await collections(options);
    if (mine !== fillings) return placed; // with another key there are others
    const names = found.map(({ name }) => name);
    const fullest = found.toSorted((one, other) => other.documents - one.documents)[0];
    const library = found.find(({ name, documents }) => name === LIBRARY && documents > 0);
    const before = names.includes(wanted.collection) ? wanted.collection : null;
    wanted.collection = asked ?? before ?? (library ?? fullest)?.name ?? "default";
    if (!names.includes(wanted.collection)) names.push(wanted.collection);
    fill(place, names.map((name) => {
      const count = found.find((one) => one.name === name)?.documents;
      return h("option", { value: name }, count === undefined ? name : `${name} (${count})`);
    }));
    place.value = wanted.collection;
    return found.reduce((sum, { documents }) => sum + documents, 0);
  }

  async function search() {
    searches += 1;
    try {
      await placed.catch(() => (placed = fillPlaces(null))); // it may answer by now
    } catch (error) {
      complain(error);
      return;
    }
    if (!element.isConnected) return;
    const route = routeTo("search", [], {
      q: box.words(), like: box.document(), kinds: wanted.kinds.join(","), mode: wanted.mode === "vector" ? "" : wanted.mode, in: wanted.collection,
    });
    noteRoute(route);
    shownRoute = route;
    await ask().catch(complain);
  }

  function again() {
    if (box.words() || box.hasMedium()) search();
  }

  async function ask({ more: next = false } = {}) {
    if (wanted.mode === "text" && box.hasMedium()) mode.value = wanted.mode = "hybrid"; // media have no words
    if (wanted.mode !== "vector" && !box.words()) mode.value = wanted.mode = "vector";
    asking?.abort();
    asking = new AbortController();
    const { signal } = asking;
    const body = next ? { ...page.body, cursor: page.cursor } : {
      query: box.items(), collection: wanted.collection, search_modalities: wanted.kinds, mode: wanted.mode, top_k: PAGE,
      include: ["metadata", "text", "matches"],
    };
    element.setAttribute("aria-busy", "true");
    more.disabled = true;
    if (!next) summary.textContent = "Searching …";
    try {
      show(await askJson("v1/search", { json: body, signal }), body, next);
    } catch (error) {
      if (error.name !== "AbortError" && !next) clear();
      throw error;
    } finally {
      if (asking.signal === signal) {
        element.removeAttribute("aria-busy");
        more.disabled = false;
      }
    }
  }

  function show(answer, body, next) {
    const hits = answer.results;
    const best = next ? page.best : (hits[0]?.similarity_score ?? 0);
    const all = next ? [...page.hits, ...hits] : hits;
    page = { body: { ...body, cursor: undefined }, cursor: answer.next_cursor, best, hits: all };
    const cards = hits.map((hit) => hitCard(hit, { collection: body.collection, best, kindOfScore: answer.score.kind }));
    fill(empty);
    if (next) add(results, cards);
    else fill(results, cards);
    more.hidden = !answer.next_cursor;
    const words = all.length ? `${counted(all.length, "result")}${answer.has_more ? " and more" : ""}: ${kindsFound(all)}.` : "Nothing was found.";
    const { kind, meaning } = answer.score;
    const scores = all.length > 0 && h("span", { class: "small", title: meaning }, scoreWords(kind));
    fill(summary, words, " ", seenInQuery(answer.manymodal), scores);
    announce(words);
    if (!all.length) fill(empty, h("p", { class: "quiet" }, "Try other words, other kinds, or another collection."));
    if (next) results.children[all.length - hits.length]?.querySelector("a, button")?.focus();
  }

  function clear() {
    page = null;
    fill(results);
    fill(summary);
    more.hidden = true;
  }

  function invite(documents) {
    clear();
    fill(
      empty,
      h("div", { class: "empty stack" },
        h("p", {}, documents
          ? "Describe what you look for, drop a picture or a video here, or say it. " +
            "Videos are found by what is seen and said in them, and play from that second."
          : "Nothing can be searched yet. What you put into the library can be found here by words, pictures and sound."),
        !documents && h("p", {}, h("a", { class: "button", href: routeTo("library") }, icon("add"), "Open the library"))),
    );
  }

  takeFiles(element, (files) => box.give(files));
  // One at a time is heard.
  element.addEventListener("play", ({ target }) => {
    for (const medium of element.querySelectorAll("video, audio")) if (medium !== target) medium.pause();
  }, true);
  onKeyChange((gone) => {
    const busy = element.isConnected && element.hasAttribute("aria-busy");
    asking?.abort(); // what the key of before may see is not left standing
    shownRoute = null;
    clear();
    if (gone) wanted.collection = named = null;
    const asked = wanted.collection ?? named;
    fill(place);
    if (!element.isConnected) return; // whoever comes back asks anew
    const mine = searches;
    const anew = () => { if (busy && searches === mine) ask().catch(complain); };
    placed = fillPlaces(asked, { quiet: true });
    placed.then(anew, () => {}); // whoever searches next is told what is wrong
  });

  return {
    element,
    async show({ query }) {
      if (page && location.hash === shownRoute) return;
      const mine = (searches += 1);
      named = query.get("in");
      placed = fillPlaces(named);
      const documents = await placed;
      if (searches !== mine) return; // someone was quicker
      if ([...query.keys()].length === 0) {
        if (page) return;
        invite(documents);
        if (matchMedia("(min-width: 46rem)").matches) box.focus();
        return;
      }
      const like = query.get("like");
      wanted.kinds = (query.get("kinds") ?? "").split(",").filter(Boolean);
      wanted.mode = query.get("mode") in MODES ? query.get("mode") : "vector";
      kinds.set(wanted.kinds);
      mode.value = wanted.mode;
      box.setWords(query.get("q") ?? "");
      const found = like ? await documentOf(wanted.collection, like) : null;
      if (searches !== mine) return;
      if (found) box.showDocument(found);
      else box.drop();
      shownRoute = location.hash;
      if (box.words() || like) await ask();
    },
    hide() {
      for (const medium of element.querySelectorAll("video, audio")) medium.pause();
    },
  };
}

async function documentOf(collection, id) {
  const { data } = await askJson(`v1/collections/${encodeURIComponent(collection)}/documents`, { query: { id, include: "metadata" } });
  if (!data.length) {
    go(routeTo("search"), { replace: true });
    throw new Error("That is not in the collection any more.");
  }
  const [{ type: kind, media_id: mediaId }] = data;
  return { id, kind, mediaId, name: nameOf(data[0]) };
}

/** What was seen or heard in the medium that was searched by. */
function seenInQuery(facts) {
  const [medium] = facts?.media ?? [];
  const labels = medium?.labels?.filter(({ probability }) => probability >= 0.05).slice(0, 3) ?? [];
  if (!labels.length) return null;
  return `Seen in yours: ${labels.map(({ text, probability }) => `${text} ${percent(probability)}`).join(", ")}. `;
}

function scoreWords(kind) {
  const words = {
    cosine: "Scores are cosine similarities.",
    bm25: "Scores are BM25.",
    reciprocal_rank: "Scores fuse two rankings.",
    reranked: "Scores of the second look.",
  };
  return words[kind] ?? "";
}
