// Doing things when they are about to be seen.
const MARGIN = "300px";

const waiting = new WeakMap();
const watcher = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      watcher.unobserve(target);
      waiting.get(target)();
      waiting.delete(target);
    }
  },
  { rootMargin: MARGIN, scrollMargin: MARGIN }, // rows that scroll by themselves, too
);

/** Call `run` once, when `element` comes near the window. */
export function whenNear(element, run) {
  waiting.set(element, run);
  watcher.observe(element);
}
