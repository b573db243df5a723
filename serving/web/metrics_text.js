// Prometheus' text format, as far as the status view asks for it: samples by name, sums and quantiles.

const SAMPLE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;
const ESCAPED = { n: "\n" };

/** All samples by the metric's name: a map to lists of `{ labels, value }`. Lines that are none are left out. */
export function parseMetrics(text) {
  const found = new Map();
  for (const line of text.split("\n")) {
    if (line.startsWith("#")) continue;
    const sample = SAMPLE.exec(line);
    if (!sample) continue;
    const [, name, words = "", number] = sample;
    const labels = {};
    for (const [, label, value] of words.matchAll(LABEL)) {
      labels[label] = value.replace(/\\(.)/g, (_, one) => ESCAPED[one] ?? one);
    }
    if (!found.has(name)) found.set(name, []);
    found.get(name).push({ labels, value: number === "+Inf" ? Infinity : Number(number) });
  }
  return found;
}

/** The samples of `name` whose labels are as in `wanted`. */
export function samples(metrics, name, wanted = {}) {
  const all = metrics.get(name) ?? [];
  return all.filter(({ labels }) => Object.entries(wanted).every(([label, value]) => labels[label] === value));
}

/** Their sum; 0 where there are none. */
export function total(metrics, name, wanted = {}) {
  return samples(metrics, name, wanted).reduce((sum, { value }) => sum + value, 0);
}

/** The largest value for each value of `label`: several processes may say the same of one thing. */
export function largestBy(metrics, name, label) {
  const found = new Map();
  for (const { labels, value } of samples(metrics, name)) {
    found.set(labels[label], Math.max(value, found.get(labels[label]) ?? -Infinity));
  }
  return found;
}

/** A histogram's cumulative counts by upper bound, over all labels: a map in rising order. */
export function buckets(metrics, name) {
  const counts = new Map();
  for (const { labels, value } of samples(metrics, `${name}_bucket`)) {
    const bound = labels.le === "+Inf" ? Infinity : Number(labels.le);
    counts.set(bound, (counts.get(bound) ?? 0) + value);
  }
  return new Map([...counts].sort(([one], [other]) => one - other));
}

/** What was added to a histogram between two looks at it. */
export function bucketsBetween(before, after) {
  return new Map([...after].map(([bound, count]) => [bound, count - (before.get(bound) ?? 0)]));
}

/**
 * A quantile out of cumulative counts, between the bounds in a straight line, as Prometheus does it; `null` of
 * nothing. Above the highest bound it is that bound.
 */
export function quantile(counts, share) {
  const all = [...counts.values()].at(-1) ?? 0;
  if (!(all > 0)) return null;
  const rank = share * all;
  let below = 0;
  let under = 0;
  for (const [bound, count] of counts) {
    if (count >= rank) {
      if (bound === Infinity) return below;
      return below + ((bound - below) * (rank - under)) / Math.max(count - under, 1e-9);
    }
    below = bound;
    under = count;
  }
  return below;
}
