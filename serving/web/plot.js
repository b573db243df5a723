// A small plot of the last minutes: one line for each series, drawn anew with every point.
import { add, fill, h, svg } from "./dom.js";

const WIDTH = 480;
const HEIGHT = 120;
const EDGE = 4;
const LEAST_SECONDS = 60;

/**
 * A card with a title, the newest figures and their course over `seconds`.
 *
 * It begins with a minute and grows to `seconds`. `series`: names, in the order of the values that `push` takes;
 * `format` words a value. `limit`: the top of the plot where it is known (1 for shares); else the plot is as high as
 * its highest value. `what` says what it is, below.
 */
export function plot({ title, what, series, format, limit = null, seconds = 300 }) {
  const points = [];
  const figures = h("p", { class: "plot-figures number" });
  const top = h("span", { class: "plot-top small quiet number" });
  const drawing = svg("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", class: "plot-lines",
  });
  const note = h("p", { class: "small quiet" }, what);
  const element = h(
    "section",
    { class: "card plot", "aria-label": title },
    h("h2", {}, title),
    figures,
    h("div", { class: "plot-area" }, drawing, top),
    note,
  );

  /** Add values (`null`: nothing known) at `now`, in seconds; `said` takes the place of the note. */
  element.push = (now, values, said = null) => {
    points.push({ now, values });
    while (points.length && points[0].now < now - seconds) points.shift();
    if (said !== null) note.textContent = said;
    tell(values);
    draw(now);
  };

  function tell(values) {
    const told = series.map((name, number) => [name, values[number] === null ? "–" : format(values[number])]);
    fill(
      figures,
      told.map(([name, words], number) =>
        h("span", { class: `plot-figure line-${number}` }, h("strong", {}, words), series.length > 1 && ` ${name}`),
      ),
    );
    const known = points.flatMap((point) => point.values.filter((value) => value !== null));
    const highest = known.length ? `; highest of the last ${Math.round(seconds / 60)} minutes ${format(Math.max(...known))}` : "";
    const now = told.map(([name, words]) => (series.length > 1 ? `${name} ${words}` : words)).join(", ");
    drawing.setAttribute("aria-label", `${title}: now ${now.replaceAll("–", "nothing")}${highest}`);
  }

  function draw(now) {
    const shown = Math.max(LEAST_SECONDS, Math.min(seconds, now - points[0].now));
    const known = points.flatMap((point) => point.values.filter((value) => value !== null));
    const height = limit ?? Math.max(...known, 0) * 1.1;
    top.textContent = height > 0 ? format(limit ?? Math.max(...known)) : "";
    const place = ({ now: at }, value) => {
      const x = WIDTH - ((now - at) / shown) * WIDTH;
      const y = HEIGHT - EDGE - (height > 0 ? Math.min(value / height, 1) : 0) * (HEIGHT - 2 * EDGE);
      return `${x.toFixed(1)},${y.toFixed(1)}`;
    };
    drawing.replaceChildren(svg("line", { x1: 0, x2: WIDTH, y1: HEIGHT - 1, y2: HEIGHT - 1, class: "plot-ground" }));
    series.forEach((_, number) => {
      add(drawing, stretches(number).map((stretch) => svg("path", {
        d: `M${stretch.map((point) => place(point, point.values[number])).join("L")}${stretch.length === 1 ? "h0.1" : ""}`,
        class: `plot-line line-${number}`, "vector-effect": "non-scaling-stroke",
      })));
    });
  }

  /** The line is interrupted where nothing is known. */
  function stretches(number) {
    const found = [[]];
    for (const point of points) {
      if (point.values[number] === null) found.push([]);
      else found.at(-1).push(point);
    }
    return found.filter((stretch) => stretch.length);
  }

  tell(series.map(() => null));
  return element;
}
