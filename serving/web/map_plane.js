// The drawing of a map: a point for each thing, one of which can be reached by Tab, and from there the others by arrows.
import { svg } from "./dom.js";
import { KINDS } from "./kinds.js";
import { thumbnailUrl } from "./media_urls.js";

const SIZES = { wide: [1000, 640], narrow: [560, 600] }; // of the drawing: what is drawn keeps its size on phones
const NARROW_PIXELS = 600;
const EDGE = 48;
const ROUNDS = 40;
const FEW = 60; // so many are all drawn as pictures
const SHAPES = {
  image: "M-7,0a7,7 0 1,0 14,0a7,7 0 1,0 -14,0",
  video: "M-6.500,-6.500h13v13h-13z",
  audio: "M0,-8L7.500,6h-15z",
  text: "M0,-8.500L8.500,0L0,8.500L-8.500,0z",
};
const SEEN = new Set(["image", "video"]);
const AWAY = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** `{ element, draw(map, names), highlight(group) }`; `onChosen(point)` is called for the one that is chosen. */
export function mapPlane({ onChosen }) {
  const element = svg("svg", { class: "map-plane", role: "group", "aria-label": "Map" });
  let points = [];
  let latest = 0; // drawing
  let shape = null;
  let redraw = () => {};
  const shapeNow = () => (element.clientWidth > 0 && element.clientWidth < NARROW_PIXELS ? "narrow" : "wide");
  new ResizeObserver(() => { if (shape !== shapeNow()) redraw(); }).observe(element);

  function draw(map, names) {
    latest += 1;
    redraw = () => draw(map, names);
    shape = shapeNow();
    const [width, height] = SIZES[shape];
    element.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const place = fitted(map.data, width, height);
    const pictured = map.data.length <= FEW
      ? new Set(map.data.map(({ id }) => id))
      : new Set(map.clusters.map(({ representatives }) => representatives.find(({ type }) => SEEN.has(type))?.id));
    points = map.data.map((point) => ({ ...point, ...place(point), name: names.get(point.id) ?? "" }));
    spread(points, pictured.size === points.length ? pictureSide() : 15, width, height);
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
    if (pictured && point.media_id && SEEN.has(point.type)) showPicture(point, group, drawing);
    return group;
  }

  async function showPicture(point, group, drawing) {
    const side = pictureSide();
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

  function pictureSide() {
    return points.length <= 24 ? 64 : 44;
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

/**
 * Push apart what would hide each other: points nearer than `least` go half the way each, again and again, for some
 * rounds. Of what lies at one and the same place each goes its own way.
 */
function spread(points, least, width, height) {
  for (let round = 0; round < ROUNDS; round += 1) {
    let moved = false;
    points.forEach((one, number) => {
      for (const other of points.slice(number + 1)) {
        let across = other.left - one.left;
        let down = other.top - one.top;
        let distance = Math.hypot(across, down);
        if (distance >= least) continue;
        if (distance < 0.01) {
          [across, down] = [Math.cos(2.4 * number + 1), Math.sin(2.4 * number + 1)]; // by the golden angle
          distance = 1;
        }
        const push = (least - Math.min(distance, least - 0.5)) / 2 / distance;
        one.left = within(one.left - across * push, width);
        one.top = within(one.top - down * push, height);
        other.left = within(other.left + across * push, width);
        other.top = within(other.top + down * push, height);
        moved = true;
      }
    });
    if (!moved) return;
  }
}

function within(place, end) {
  return Math.min(Math.max(place, EDGE / 2 + 12), end - EDGE / 2 - 12);
}

/** From positions to places in the drawing: as large as it may be, both axes alike. */
function fitted(data, width, height) {
  const ends = (axis) => [Math.min(...data.map((point) => point[axis])), Math.max(...data.map((point) => point[axis]))];
  const [[left, right], [low, high]] = [ends("x"), ends("y")];
  const scale = Math.min((width - 2 * EDGE) / Math.max(right - left, 1e-6), (height - 2 * EDGE) / Math.max(high - low, 1e-6));
  const bounded = data.length > 1 && Number.isFinite(scale) && scale < 1e6 ? scale : 1;
  return ({ x, y }) => ({
    left: width / 2 + (x - (left + right) / 2) * bounded,
    top: height / 2 - (y - (low + high) / 2) * bounded,
  });
}
