// Icons, drawn with strokes of the text's colour. They say nothing by themselves: what holds them has a label.
import { svg } from "./dom.js";

const PATHS = {
  chat: "M4 5h16v11H9l-5 4z",
  search: "M10.5 4a6.5 6.5 0 1 0 0 13a6.5 6.5 0 0 0 0-13zM15.5 15.5L21 21",
  library: "M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z",
  status: "M3 13h4l3-8l4 14l3-6h4",
  light: "M12 8a4 4 0 1 0 0 8a4 4 0 0 0 0-8zM12 2v2.5M12 19.5V22M2 12h2.5M19.5 12H22M5 5l1.7 1.7M17.3 17.3L19 19M19 5l-1.7 1.7M6.7 17.3L5 19",
  dark: "M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.500 10.500z",
  system: "M3 5h18v11H3zM8 20h8M12 16v4",
  key: "M8 11a4 4 0 1 0 0 8a4 4 0 0 0 0-8zM11 12.500L20 4M16.500 7.500l3 3",
  attach: "M20 11.500l-8 8a5 5 0 0 1-7-7l8.500-8.500a3.300 3.300 0 0 1 4.700 4.700L10 17a1.600 1.600 0 0 1-2.300-2.300L15 7.500",
  microphone: "M12 3a3 3 0 0 0-3 3v5a3 3 0 0 0 6 0V6a3 3 0 0 0-3-3zM5.500 11a6.500 6.500 0 0 0 13 0M12 17.500V21",
  stop: "M6.500 6.500h11v11h-11z",
  send: "M12 20V5M5.500 11.500L12 5l6.500 6.500",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  close: "M6 6l12 12M18 6L6 18",
  play: "M7 4.500v15l12-7.500z",
  download: "M12 4v11M7 11l5 5l5-5M4 20h16",
  remove: "M4 7h16M9 7V4h6v3M6.500 7l1 13h9l1-13M10 11v5M14 11v5",
  more: "M6 9l6 6l6-6",
  image: "M4 4h16v16H4zM4 16l4.500-4.500L14 17M13 16l3-3l4 4M15.500 8.500h.01",
  audio: "M3 10v4M7.500 6v12M12 9v6M16.500 4v16M21 10v4",
  video: "M3 6h12v12H3zM15 10.500l6-3.500v10l-6-3.500",
  text: "M5 6h14M5 10.500h14M5 15h14M5 19.500h8",
  check: "M5 12.500l4.500 4.500L19 7.500",
  warning: "M12 4L2.500 20h19zM12 10v4.500M12 17.300v.01",
  again: "M4 12a8 8 0 1 1 2.500 5.800M4 12V7M4 12h5",
  add: "M12 5v14M5 12h14",
  options: "M4 7h9M17 7h3M4 17h3M11 17h9M15 4.800v4.400M9 14.800v4.400",
  map: "M6 6.500a1.500 1.500 0 1 0 .01 0M17 5.500a1.500 1.500 0 1 0 .01 0M12 12.500a1.500 1.500 0 1 0 .01 0M6.500 18a1.500 1.500 0 1 0 .01 0M18 17a1.500 1.500 0 1 0 .01 0",
  clock: "M12 3.500a8.500 8.500 0 1 0 0 17a8.500 8.500 0 0 0 0-17zM12 7.500V12l3.200 2",
};

/** The icon of a name; hidden from screen readers. */
export function icon(name) {
  return svg(
    "svg",
    {
      class: "icon", viewBox: "0 0 24 24", fill: "none", stroke: "currentColor", "stroke-width": "1.8",
      "stroke-linecap": "round", "stroke-linejoin": "round", "aria-hidden": "true", focusable: "false",
    },
    svg("path", { d: PATHS[name] }),
  );
}
