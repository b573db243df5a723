// The drawing of a map: a point for each thing, one of which can be reached by Tab, and from there the others by arrows.
import { svg } from "./dom.js";
import { KINDS } from "./kinds.js";
import { thumbnailUrl } from "./media_urls.js";

const WIDTH = 1000;
const HEIGHT = 640;
const EDGE = 48;
const FEW = 60; // so many are all drawn as pictures
const SHAPES = {
  image: "M-7,0a7,7 0 1,0 14,0a7,7 0 1,0 -14,0",
  video: "M-6.500,-6.500h13v13h-13z",
  audio: "M0,-8L7.500,6h-15z",
  text: "M0,-8.500L8.500,0L0,8.500L-8.500,0z",
};
const AWAY = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** `{ element, draw(map, names), highlight(group) }`; `onChosen(point)` is called for the one that is chosen. */
export function mapPlane({ onChosen }) {
  const element = svg("svg", { class: "map-plane", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "group", "aria-label": "Map" });
  let points = [];
  let latest = 0; // drawing

  function draw(map, names) {
    latest += 1;
    const place = fitted(map.data);
    const pictured = map.data.length <= FEW
      ? new Set(map.data.map(({ id }) => id))
      : new Set(map.clusters.flatMap(({ representatives }) => representatives.slice(0, 1).map(({ id }) => id)));
    points = map.data.map((point) => ({ ...point, ...place(point), name: names.get(point.id) ?? "" }));
    // What is drawn as a picture lies on top of the points.
    const ordered = points.toSorted((one, other) => pictured.has(one.id) - pictured.has(other.id));
    element.replaceChildren(...ordered.map((point) => drawn(point, pictured.has(point.id), latest)));
    element.setAttribute("aria-label", `Map of ${points.length} things in ${map.clusters.length} groups`);
    if (points.length) reachable(points[0]);
  }

  function drawn(point, pictured, drawing) {
    const words = [(KINDS[point.type] ?? [point.type])[0], point.name, `in group ${point.cluster + 1}`].filter(Boolean).join(" ");
    const group = svg(
      "g",
      {
        class: `map-point group-${point.cluster % 8}`, transform: `translate(${point.left.toFixed(1)},${point.top.toFixed(1)})`,
        role: "button", tabindex: "-1", "aria-label": words, onclick: () => choose(point), onkeydown: (event) => key(event, point),
        onfocus: () => reachable(point),
      },
      svg("title", {}, words),
      svg("path", { d: SHAPES[point.type] ?? SHAPES.text, class: "map-shape" }),
    );
    point.element = group;
    if (pictured && point.media_id && ["image", "video"].includes(point.type)) showPicture(point, group, drawing);
    return group;
  }

  async function showPicture(point, group, drawing) {
    const side = points.length <= 24 ? 64 : 44;
    try {
      const href = await thumbnailUrl(point.media_id, { side: 64 });
      if (drawing !== latest) return;
      group.append(
        svg("image", { href, x: -side / 2, y: -side / 2, width: side, height: side, preserveAspectRatio: "xMidYMid slice", class: "map-picture" }),
        svg("circle", { r: side / 2, class: "map-ring" }),
      );
    } catch {
      // There is no picture of it: the point stays.
    }
  }

  function choose(point) {
    reachable(point);
    for (const { element: one } of points) one.classList.toggle("chosen", one === point.element);
    onChosen(point);
  }

  function reachable(point) {
    for (const { element: one } of points) one.setAttribute("tabindex", one === point.element ? "0" : "-1");
  }

  function key(event, point) {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      choose(point);
    } else if (event.key in AWAY) {
      event.preventDefault();
      nearest(point, AWAY[event.key])?.element.focus();
    }
  }

  /** The nearest point in a direction: what lies askew counts as farther. */
  function nearest(from, [across, down]) {
    let found = null;
    let least = Infinity;
    for (const point of points) {
      const right = point.left - from.left;
      const below = point.top - from.top;
      const ahead = right * across + below * down;
      const aside = Math.abs(right * down) + Math.abs(below * across);
      if (ahead <= 0 || point === from) continue;
      const distance = ahead + 2.5 * aside;
      if (distance < least) [found, least] = [point, distance];
    }
    return found;
  }

  function highlight(group) {
    for (const point of points) point.element.classList.toggle("dim", group !== null && point.cluster !== group);
  }

  return { element, draw, highlight };
}

/** From positions to places in the drawing: as large as it may be, both axes alike. */
function fitted(data) {
  const ends = (axis) => [Math.min(...data.map((point) => point[axis])), Math.max(...data.map((point) => point[axis]))];
  const [[left, right], [low, high]] = [ends("x"), ends("y")];
  const scale = Math.min((WIDTH - 2 * EDGE) / Math.max(right - left, 1e-6), (HEIGHT - 2 * EDGE) / Math.max(high - low, 1e-6));
  const bounded = data.length > 1 && Number.isFinite(scale) && scale < 1e6 ? scale : 1;
  return ({ x, y }) => ({
    left: WIDTH / 2 + (x - (left + right) / 2) * bounded,
    top: HEIGHT / 2 - (y - (low + high) / 2) * bounded,
  });
}
