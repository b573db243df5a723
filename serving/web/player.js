// A player of sound or video that can be told where to go.
import { h } from "./dom.js";
import { playableUrl } from "./media_urls.js";
import { whenNear } from "./near.js";

/**
 * A player of `{ id, kind, filename }` with its controls. The element has `seek(seconds, { play = true })` and `pause()`.
 * `start`: where it begins. It is loaded when it comes near the window.
 */
export function player({ id, kind, filename = null }, { start = 0 } = {}) {
  const medium = h(kind === "video" ? "video" : "audio", {
    controls: true, preload: "metadata", playsinline: true, "aria-label": `${kind === "video" ? "Video" : "Sound"} ${filename ?? id}`,
  });
  const element = h("div", { class: "player" }, medium);
  let loading = null;

  function loaded() {
    loading ??= playableUrl(id).then(
      (url) => new Promise((resolve) => {
        medium.addEventListener("loadedmetadata", resolve, { once: true });
        medium.addEventListener("error", () => resolve(fail("This browser cannot play this format.")), { once: true });
        medium.src = start > 0 ? `${url}#t=${start}` : url;
      }),
      (error) => fail(error.message),
    );
    return loading;
  }

  function fail(sentence) {
    if (!element.querySelector("p")) element.append(h("p", { role: "alert" }, sentence));
    medium.hidden = kind === "audio";
  }

  element.seek = async (seconds, { play = true } = {}) => {
    await loaded();
    medium.currentTime = seconds;
    if (play) await medium.play().catch(() => {}); // a browser may want a click on the player itself
  };
  element.pause = () => medium.pause();
  whenNear(element, loaded);
  return element;
}
