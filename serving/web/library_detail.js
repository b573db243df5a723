// One medium: itself, its facts, what was found in it, and what is like it.
import { askJson } from "./api.js";
import { fill, h } from "./dom.js";
import { clock, duration, moment, percent, shortId, size } from "./formats.js";
import { nameOf } from "./hit.js";
import { icon } from "./icons.js";
import { KINDS } from "./kinds.js";
import { contentUrl, forgetMedium, playableUrl, thumbnailUrl } from "./media_urls.js";
import { momentList } from "./moments.js";
import { complain, notify } from "./notices.js";
import { player } from "./player.js";
import { go, routeTo } from "./router.js";
import { deleteMedium, inLibrary, LIBRARY, makeSearchable, nearDuplicates, takeOut } from "./shelf.js";
import { thumb } from "./thumb.js";
import { writtenPicture } from "./written_picture.js";

const ALIKE = 0.9; // near-duplicates by their vectors, for a person to judge

/** The view of one medium: `{ element, show(), hide() }`. `start`: where a player begins; `onGone`: it was deleted. */
export function detail(id, { start, onGone }) {
  const element = h("article", { class: "stack detail" }, h("p", { class: "quiet" }, "Loading …"));
  let playing = null;

  async function show() {
    let medium;
    try {
      medium = await askJson(`v1/media/${encodeURIComponent(id)}`);
    } catch (error) {
      fill(element, h("p", { class: "empty" }, error.message));
      return;
    }
    const name = medium.filename ?? shortId(id);
    const known = h("section", { class: "stack", "aria-label": "What was found in it" });
    const alike = h("section", { class: "stack", "aria-label": "What is like it" });
    const tools = h("div", { class: "row" });
    fill(
      element,
      h("div", { class: "row detail-head" }, icon(medium.kind), h("h2", { class: "detail-name" }, name)),
      h("div", { class: "detail-columns" },
        h("div", { class: "stack" }, shownMedium(medium, name), tools, known),
        h("div", { class: "stack" }, facts(medium), alike)),
    );
    await fillKnown(medium, name, { known, alike, tools });
  }

  function shownMedium(medium, name) {
    if (medium.kind !== "image") {
      playing = player({ id, kind: medium.kind, filename: name }, { start });
      return playing;
    }
    const picture = h("img", { class: "detail-picture", alt: name });
    const other = () => thumbnailUrl(id, { side: 1024 }).then((url) => { picture.src = url; }, complain);
    picture.addEventListener("error", other, { once: true }); // a format that this browser does not show
    contentUrl(id).then((url) => { picture.src = url; }, complain);
    return h("div", { class: "detail-frame" }, picture);
  }

  async function fillKnown(medium, name, { known, alike, tools }) {
    const document = await documentOf(id);
    fill(tools, toolButtons(medium, name, document !== null, document === undefined));
    fill(known, document && whatIsKnown(document, medium, (seconds) => playing.seek(seconds)), medium.kind === "image" && writtenIn(id, name));
    if (document === null) {
      known.prepend(h("p", { class: "quiet" }, "It cannot be found by searching yet: nobody has looked at it or listened to it."));
    }
    fill(alike, await likenesses(medium, document));
  }

  function toolButtons(medium, name, isSearchable, mayNotSearch) {
    const search = isSearchable
      ? h("button", { type: "button", class: "plain", onclick: (event) => change(event, () => takeOut(id)) }, "Take out of the search")
      : h("button", { type: "button", class: "main", onclick: (event) => change(event, () => makeSearchable(medium)) }, "Make searchable");
    return [
      h("a", { class: "button", href: routeTo("chat", [], { media: id }) }, icon("chat"), "Ask about it"),
      isSearchable && !mayNotSearch &&
        h("a", { class: "button", href: routeTo("search", [], { like: id, in: LIBRARY }) }, icon("search"), "More like this"),
      !mayNotSearch && search,
      h("button", { type: "button", class: "plain", onclick: () => download(name).catch(complain) }, icon("download"), "Download"),
      h("button", { type: "button", class: "plain bad", onclick: () => askToDelete(name) }, icon("remove"), "Delete"),
    ];
  }

  async function change({ currentTarget: button }, work) {
    button.disabled = true;
    try {
      await work();
      await show();
    } catch (error) {
      complain(error);
    } finally {
      button.disabled = false;
    }
  }

  async function download(name) {
    const link = h("a", { href: await playableUrl(id), download: name });
    link.click();
  }

  function askToDelete(name) {
    const yes = h("button", { type: "button", class: "main", onclick: () => remove(dialog, name) }, "Delete for good");
    const dialog = h(
      "dialog",
      { "aria-labelledby": "delete-title", onclose: () => dialog.remove() },
      h("form", { method: "dialog", class: "stack" },
        h("h2", { id: "delete-title" }, "Delete this medium?"),
        h("p", {}, `${name} and all that was found in it will be gone, from every collection. This cannot be undone.`),
        h("div", { class: "row" }, h("button", { autofocus: true }, "Keep it"), yes)),
    );
    document.body.append(dialog);
    dialog.showModal();
  }

  async function remove(dialog, name) {
    try {
      await deleteMedium(id);
    } catch (error) {
      if (error.status !== 404) {
        dialog.close();
        complain(error);
        return;
      }
    }
    dialog.close();
    forgetMedium(id);
    onGone();
    notify(`${name} was deleted.`, { kind: "good" });
    go(routeTo("library"), { replace: true });
  }

  return { element, show, hide: () => playing?.pause() };
}

/** Its document in the library's collection; `null`: none, `undefined`: this key may not search. */
async function documentOf(id) {
  try {
    return (await inLibrary([id], { include: ["parts"] })).get(id) ?? null;
  } catch (error) {
    if (error.status === 403) return undefined;
    throw error;
  }
}

function facts(medium) {
  const told = [
    ["Kind", KINDS[medium.kind][0]],
    ["Size", size(medium.bytes)],
    ["Format", medium.content_type],
    medium.width && ["Width and height", `${medium.width} × ${medium.height}`],
    medium.duration_seconds !== null && ["Length", duration(medium.duration_seconds)],
    medium.kind === "video" && ["Sound", medium.has_audio ? "yes" : "none"],
    ["Added", moment(medium.created_at)],
    medium.expires_at && ["Kept until", moment(medium.expires_at)],
    ["Id", h("code", { class: "small" }, medium.id)],
  ];
  return h("dl", { class: "facts card" }, told.filter(Boolean).map(([term, value]) => h("div", {}, h("dt", {}, term), h("dd", {}, value))));
}

function whatIsKnown({ parts = [] }, medium, play) {
  const frames = parts.filter(({ kind }) => kind === "frame");
  const speech = parts.filter(({ kind }) => kind === "speech");
  const whole = parts.filter(({ kind, text }) => kind === "whole" && text);
  const asMoments = (some, said) => some.map(({ start_seconds: seconds, text }) => ({ seconds, text, said }));
  return [
    whole.length > 0 && [h("h3", {}, "What was seen and read"), whole.map(({ text }) => h("p", { class: "known-text" }, text))],
    frames.length > 0 && [h("h3", {}, "What was seen"), momentList(medium, asMoments(frames, false), play, { label: "Moments that were looked at" })],
    speech.length > 0 && [h("h3", {}, "What was said"), transcript(speech, play)],
    !whole.length && !frames.length && !speech.length && h("p", { class: "quiet" }, "Nothing in it can be put in words."),
  ];
}

/** The text that is read in a picture, when somebody wants it: reading takes a while. */
function writtenIn(id, name) {
  const place = h("div", {}, h("p", { class: "quiet small" }, "Reading …"));
  let read = false;
  const open = async () => {
    if (read) return;
    read = true;
    try {
      fill(place, await writtenPicture(id, name));
    } catch (error) {
      read = false;
      fill(place, h("p", { class: "small", role: "alert" }, error.message));
    }
  };
  return h("details", { ontoggle: open }, h("summary", {}, "Read the text in it"), place);
}

function transcript(speech, play) {
  return h("ol", { class: "said", "aria-label": "Transcript" }, speech.map(({ start_seconds: seconds, text }) =>
    h("li", {}, momentButton(seconds, play), h("span", {}, text))));
}

function momentButton(seconds, play) {
  const words = clock(seconds);
  return h("button", { type: "button", class: "chip", "aria-label": `Play from ${words}`, onclick: () => play(seconds) }, icon("play"), words);
}

/** Pictures whose hashes are near, and documents whose vectors are. */
async function likenesses(medium, document) {
  const looks = medium.near_duplicates ?? [];
  const near = document ? await nearDuplicates(medium.id, ALIKE) : [];
  if (!looks.length && !near.length) {
    return document ? [h("h3", {}, "What is like it"), h("p", { class: "quiet small" }, "Nothing in the library is all but the same.")] : [];
  }
  return [
    looks.length > 0 && [
      h("h3", {}, "Looks the same"),
      tiles(looks.map(({ id, distance }) => ({ id, kind: "image", name: shortId(id), words: `${distance} of 64 bits differ` }))),
    ],
    near.length > 0 && [
      h("h3", {}, "All but the same"),
      tiles(near.map((hit) => ({
        id: hit.media_id,
        kind: hit.type,
        name: nameOf(hit),
        words: hit.same_content ? "the very same bytes" : `${percent(hit.similarity_score)} alike`,
      }))),
    ],
  ];
}

function tiles(some) {
  return h("ul", { class: "tiles" }, some.filter(({ id }) => id).map(({ id, kind, name, words }) =>
    h("li", {}, h("a", { href: routeTo("library", [id]) },
      thumb({ id, kind }, { side: 128 }),
      h("span", { class: "small" }, name),
      h("span", { class: "small quiet" }, words)))));
}
