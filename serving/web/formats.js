// Figures for people.

/** `75.3` as `1:15`, `4000` as `1:06:40`. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const parts = [Math.floor(whole / 60) % 60, whole % 60];
  const hours = Math.floor(whole / 3600);
  if (hours) return [hours, ...parts.map((part) => String(part).padStart(2, "0"))].join(":");
  return `${parts[0]}:${String(parts[1]).padStart(2, "0")}`;
}

/** A length in words: `4.2 s`, `1:15 min`. */
export function duration(seconds) {
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  return `${clock(seconds)} ${seconds < 3600 ? "min" : "h"}`;
}

/** `1536000` as `1.5 MB`. */
export function size(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** `0.834` as `83 %`. */
export function percent(share) {
  const whole = share * 100;
  return `${whole > 0 && whole < 1 ? "<1" : Math.round(whole)} %`;
}

/** `3, "frame"` as `3 frames`. */
export function counted(count, word, words = `${word}s`) {
  return `${count} ${count === 1 ? word : words}`;
}

/** Unix seconds as a date and a time of this place. */
export function moment(unixSeconds) {
  return new Date(unixSeconds * 1000).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}

/** An id that one can tell from others at a glance. */
export function shortId(id) {
  return id.length > 16 ? `${id.slice(0, 9)}…${id.slice(-4)}` : id;
}
