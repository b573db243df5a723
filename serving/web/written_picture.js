// A picture with the text that was read in it: boxes on the picture, lines beside it, each marking the other.
import { askJson } from "./api.js";
import { h, svg } from "./dom.js";
import { percent } from "./formats.js";
import { contentUrl, thumbnailUrl } from "./media_urls.js";

const MOST_PIXELS = 4000;

/** A figure of the picture `id`, with its lines of text. */
export async function writtenPicture(id, name) {
  const read = await askJson(`v1/media/${encodeURIComponent(id)}/text`);
  const { width, height, lines } = read;
  const marks = lines.map((line) => svg("polygon", { points: line.box.map((corner) => corner.join(",")).join(" ") }));
  const rows = lines.map((line) => h("li", {}, h("span", {}, line.text), " ", h("span", { class: "small quiet number" }, percent(line.confidence))));
  lines.forEach((_, index) => {
    for (const element of [marks[index], rows[index]]) {
      element.addEventListener("pointerenter", () => mark(index, true));
      element.addEventListener("pointerleave", () => mark(index, false));
    }
  });
  function mark(index, on) {
    marks[index].classList.toggle("marked", on);
    rows[index].classList.toggle("marked", on);
  }
  const picture = h("img", { src: await pictureUrl(id, Math.max(width, height)), alt: `${name}, with its text marked` });
  return h(
    "figure",
    { class: "written" },
    h(
      "div",
      { class: "written-picture", style: { "aspect-ratio": `${width} / ${height}` } },
      picture,
      svg("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" }, marks),
    ),
    h("ol", { class: "written-lines", "aria-label": "Lines of text" }, rows),
  );
}

/** Upright and in colours that every browser shows: the picture itself where it is small, else one made of it. */
async function pictureUrl(id, side) {
  if (side > MOST_PIXELS) return thumbnailUrl(id, { side: 1024 });
  const url = await contentUrl(id);
  const fits = await new Promise((resolve) => {
    const probe = h("img", { src: url, onload: () => resolve(true), onerror: () => resolve(false) });
    probe.decoding = "async";
  });
  return fits ? url : thumbnailUrl(id, { side: 1024 });
}
