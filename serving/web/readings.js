// What the figures of /metrics mean: rates and quantiles of the last minute, out of counters that only grow.
import { buckets, bucketsBetween, largestBy, parseMetrics, quantile, samples, total } from "./metrics_text.js";

const WINDOW_SECONDS = 60;
const FIRST_TOKEN = "manymodal_time_to_first_token_seconds";

/** Takes the text of /metrics again and again and tells what happened in the minute before each. */
export class Readings {
  #taken = [];

  /**
   * `{ seconds, firstToken: { p50, p95 }, tokensPerSecond, requestsPerSecond, cacheHits, inProgress, memory, gpus }`
   * of the text read at `now` (seconds). What nothing is known of is `null`: rates at the first look, quantiles and
   * the share of hits while nobody asked for anything. `sinceStart` holds quantiles and hits of all the time.
   */
  take(text, now) {
    const metrics = parseMetrics(text);
    const look = { now, ...counted(metrics) };
    if (this.#taken.some((one) => one.requests > look.requests)) this.#taken = []; // another gateway, or a new one
    this.#taken.push(look);
    while (this.#taken.length > 2 && this.#taken[1].now <= now - WINDOW_SECONDS) this.#taken.shift();
    const before = this.#taken[0];
    const seconds = look.now - before.now;
    const rate = (name) => (seconds > 0 ? (look[name] - before[name]) / seconds : null);
    return {
      seconds,
      firstToken: quantiles(bucketsBetween(before.firstToken, look.firstToken)),
      tokensPerSecond: rate("tokens"),
      requestsPerSecond: rate("requests"),
      cacheHits: share(look.hits - before.hits, look.lookups - before.lookups),
      sinceStart: { firstToken: quantiles(look.firstToken), cacheHits: share(look.hits, look.lookups) },
      inProgress: total(metrics, "manymodal_requests_in_progress"),
      memory: memory(metrics),
      gpus: gpus(metrics),
    };
  }
}

function counted(metrics) {
  const lookups = samples(metrics, "manymodal_cache_answers_total");
  return {
    firstToken: buckets(metrics, FIRST_TOKEN),
    tokens: total(metrics, "manymodal_tokens_total", { direction: "completion" }),
    requests: asked(metrics),
    lookups: lookups.reduce((sum, { value }) => sum + value, 0),
    hits: lookups.filter(({ labels }) => labels.tier !== "miss").reduce((sum, { value }) => sum + value, 0),
  };
}

/** Requests to the API; those of whoever looks at the platform are none of its work. */
function asked(metrics) {
  return samples(metrics, "manymodal_requests_total")
    .filter(({ labels: { endpoint = "" } }) => endpoint.startsWith("/v1/") && !endpoint.startsWith("/v1/admin"))
    .reduce((sum, { value }) => sum + value, 0);
}

function quantiles(counts) {
  return { p50: quantile(counts, 0.5), p95: quantile(counts, 0.95) };
}

function share(part, whole) {
  return whole > 0 ? part / whole : null;
}

function memory(metrics) {
  const [used] = samples(metrics, "manymodal_memory_used_bytes");
  const [limit] = samples(metrics, "manymodal_memory_limit_bytes");
  return used && limit ? { used: used.value, limit: limit.value } : null;
}

function gpus(metrics) {
  const used = largestBy(metrics, "manymodal_gpu_memory_used_bytes", "gpu");
  const whole = largestBy(metrics, "manymodal_gpu_memory_total_bytes", "gpu");
  const busy = largestBy(metrics, "manymodal_gpu_utilization_ratio", "gpu");
  return [...whole].map(([gpu, limit]) => ({ gpu, limit, used: used.get(gpu) ?? 0, busy: busy.get(gpu) ?? null }));
}
