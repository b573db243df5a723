// A collection as a map: what is alike lies together. Beside it the same as a list, group by group.
import { fill, h, newId } from "./dom.js";
import { counted, percent, shortId } from "./formats.js";
import { nameOf } from "./hit.js";
import { icon } from "./icons.js";
import { KINDS } from "./kinds.js";
import { mapPlane } from "./map_plane.js";
import { complain } from "./notices.js";
import { noteRoute, routeTo } from "./router.js";
import { collections, documentsById, LIBRARY, mapOf } from "./shelf.js";
import { thumb } from "./thumb.js";

const MOST_PLACES = 500;
const GROUPS = [2, 3, 4, 6, 8, 12, 16, 24];

/** The view of a map: `{ element, show(collection) }`. */
export function collectionMap() {
  const placeId = newId("place");
  const countId = newId("count");
  const place = h("select", { id: placeId, onchange: () => load().catch(complain) });
  const count = h("select", { id: countId, onchange: () => load().catch(complain) }, GROUPS.map((number) => h("option", { value: number }, number)));
  count.value = "6";
  const summary = h("p", { class: "small quiet" });
  const preview = h("div", { class: "map-preview" });
  const groups = h("ol", { class: "groups" });
  const plane = mapPlane({ onChosen: (point) => tellOf(point).catch(complain) });
  const shown = h("div", { class: "map-columns" },
    h("div", { class: "stack" }, plane.element, preview),
    h("section", { class: "stack", "aria-label": "Groups" }, groups));
  const empty = h("p", { class: "empty", hidden: true },
    "There is nothing to place yet. Put some media into the library, and make them searchable.");
  const element = h("div", { class: "stack" },
    h("div", { class: "row options" },
      h("div", { class: "row small" }, h("label", { class: "quiet", for: placeId }, "Collection"), place),
      h("div", { class: "row small" }, h("label", { class: "quiet", for: countId }, "Number of groups"), count)),
    summary, shown, empty);
  let loading = null;
  let chosen = null;

  async function show(wanted) {
    const found = (await collections()).filter(({ documents }) => documents > 0);
    fill(place, found.map(({ name, documents }) => h("option", { value: name }, `${name} (${documents})`)));
    const names = found.map(({ name }) => name);
    const first = [wanted, LIBRARY].find((name) => names.includes(name)) ?? names[0];
    if (first) place.value = first;
    empty.hidden = names.length > 0;
    shown.hidden = !names.length;
    place.disabled = count.disabled = !names.length;
    fill(summary);
    if (names.length) await load();
  }

  async function load() {
    if (!place.value) return; // chosen before it is known what there is
    loading?.abort();
    loading = new AbortController();
    const { signal } = loading;
    noteRoute(routeTo("library", ["map"], { in: place.value === LIBRARY ? "" : place.value }));
    let found;
    try {
      found = await mapOf(place.value, { count: Number(count.value), limit: MOST_PLACES, signal });
    } catch (error) {
      if (error.name === "AbortError") return;
      throw error;
    }
    const names = await namesOf(found, signal);
    plane.draw(found, names);
    chosen = null;
    fill(preview, h("p", { class: "small quiet" }, "Choose a point to see what it is. The arrow keys go from one to the next."));
    fill(groups, found.clusters.map(groupItem));
    const left = found.sampled - found.data.length;
    const sample = found.sampled < found.documents ? `A sample of ${found.sampled} out of ${found.documents} things. ` : "";
    summary.textContent =
      `${sample}${counted(found.data.length, "thing")} in ${counted(found.clusters.length, "group")}` +
      `${left > 0 ? ` (${left} more are counted in the groups, but not drawn)` : ""}. ` +
      `The plane shows ${percent(found.explained[0] + found.explained[1])} of what tells them apart: what lies together here may still differ.`;
  }

  /** Names of the documents, as far as one request tells them. */
  async function namesOf({ data }, signal) {
    const documents = await documentsById(place.value, data.slice(0, 100).map(({ id }) => id), { signal });
    return new Map([...documents].map(([id, document]) => [id, nameOf(document)]));
  }

  async function tellOf(point) {
    const { id, type: kind, media_id: mediaId, cluster } = point;
    chosen = point;
    const document = (await documentsById(place.value, [id], { include: ["parts"] })).get(id);
    if (chosen !== point) return; // another was chosen meanwhile
    if (!document) {
      fill(preview, h("p", { class: "small quiet" }, "It is not in the collection any more."));
      return;
    }
    const text = document.parts?.find((part) => part.text)?.text ?? "";
    const name = nameOf({ ...document, text: kind === "text" ? text : null });
    fill(
      preview,
      h("div", { class: "card map-card" },
        mediaId ? thumb({ id: mediaId, kind }, { side: 256 }) : h("span", { class: "thumb", dataset: { kind } }, icon("text")),
        h("div", { class: "stack map-words" },
          h("strong", {}, name),
          h("span", { class: "small quiet" }, `${(KINDS[kind] ?? [kind])[0]} in group ${cluster + 1}`),
          text && text !== name && h("p", { class: "small map-text" }, text.slice(0, 200)),
          h("div", { class: "row small" },
            mediaId && h("a", { href: routeTo("library", [mediaId]) }, "Details"),
            h("a", { href: routeTo("search", [], { like: id, in: place.value }) }, "More like this")))),
    );
  }

  function groupItem({ size, mean_similarity: alike, representatives }, number) {
    const only = h(
      "button",
      { type: "button", class: "chip", "aria-pressed": "false", onclick: () => highlight(only, number) },
      h("span", { class: `dot group-${number % 8}`, "aria-hidden": "true" }),
      "Show on the map",
    );
    return h(
      "li",
      { class: "group" },
      h("div", { class: "row spread" },
        h("h3", {}, `Group ${number + 1}: ${counted(size, "thing")}`),
        only),
      h("p", { class: "small quiet" }, `${percent(Math.max(0, alike))} alike on average`),
      h("ul", { class: "tiles group-tiles" }, representatives.map((one) => tile(one))),
    );
  }

  function tile(one) {
    const name = nameOf(one);
    const route = one.media_id ? routeTo("library", [one.media_id]) : routeTo("search", [], { like: one.id, in: place.value });
    return h("li", {}, h("a", { href: route },
      one.media_id
        ? thumb({ id: one.media_id, kind: one.type }, { side: 128 })
        : h("span", { class: "thumb", dataset: { kind: "text" } }, icon("text")),
      h("span", { class: "small tile-name" }, name ?? shortId(one.id))));
  }

  function highlight(button, number) {
    const on = button.getAttribute("aria-pressed") !== "true";
    for (const one of groups.querySelectorAll("[aria-pressed]")) one.setAttribute("aria-pressed", "false");
    button.setAttribute("aria-pressed", String(on));
    plane.highlight(on ? number : null);
  }

  return { element, show };
}
