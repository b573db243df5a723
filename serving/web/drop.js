// Files by drag and drop, by paste, and by choosing them.
import { h } from "./dom.js";

export const MEDIA = "image/*,audio/*,video/*,.mkv,.heic,.heif,.avif,.flac,.opus";

const takers = new WeakMap(); // element to what takes its files

// What is dropped beside it goes to the element that takes files, if one is shown. Never does the browser leave the
// page to show a file.
document.addEventListener("dragover", (event) => {
  if (holdsFiles(event)) event.preventDefault();
});
document.addEventListener("drop", (event) => {
  if (event.defaultPrevented || !holdsFiles(event)) return;
  event.preventDefault();
  takers.get(document.querySelector("[data-takes-files]"))?.(event.dataTransfer.files);
});

/**
 * Take what is dropped on `element`, or beside it on the page, or pasted in it; `onFiles` is given a list of files. Marks
 * it with `.dropping`.
 */
export function takeFiles(element, onFiles) {
  element.dataset.takesFiles = "";
  takers.set(element, give);
  let depth = 0; // enter and leave come for every element within
  const mark = () => element.classList.toggle("dropping", depth > 0);
  element.addEventListener("dragenter", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    depth += 1;
    mark();
  });
  element.addEventListener("dragover", (event) => {
    if (holdsFiles(event)) event.preventDefault();
  });
  element.addEventListener("dragleave", (event) => {
    if (!holdsFiles(event)) return;
    depth = Math.max(0, depth - 1);
    mark();
  });
  element.addEventListener("drop", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    depth = 0;
    mark();
    give(event.dataTransfer.files);
  });
  element.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length) return; // text goes where the cursor is
    event.preventDefault();
    give(files.map(named));
  });

  function give(files) {
    if (files.length) onFiles([...files]);
  }
}

/** Let files be chosen. */
export function pickFiles(onFiles, { multiple = true, accept = MEDIA } = {}) {
  const input = h("input", { type: "file", multiple, accept });
  input.addEventListener("change", () => {
    if (input.files.length) onFiles([...input.files]);
  });
  input.click();
}

function holdsFiles(event) {
  return event.dataTransfer?.types.includes("Files");
}

/** Pasted pictures are all called `image.png`. */
function named(file) {
  if (file.name !== "image.png") return file;
  return new File([file], `pasted-${new Date().toTimeString().slice(0, 8).replaceAll(":", "")}.png`, { type: file.type });
}
