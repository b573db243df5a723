// The deployments and the queues before them, as tables.
import { h } from "./dom.js";

const TONES = { healthy: "good", scaling: "accent", updating: "accent", unhealthy: "bad", unknown: "warn" };

/** The pools of /v1/admin/pools. */
export function poolTable(pools) {
  const rows = pools.map(({ name, health, replicas, target_replicas: target, calls }) => [
    h("th", { scope: "row" }, name),
    h("td", {}, h("span", { class: `chip ${TONES[health] ?? ""}` }, health)),
    number(replicaWords(replicas, target)),
    number(calls?.ongoing),
    number(calls?.answered),
    number(calls && calls.failed + calls.broken_off),
    number(calls && calls.refused + calls.refused_open),
    number(calls?.latency_seconds && milliseconds(calls.latency_seconds.p50)),
    number(calls?.latency_seconds && milliseconds(calls.latency_seconds.p95)),
    h("td", {}, calls ? calls.breaker : "–"),
  ]);
  const heads = ["Pool", "Health", "Replicas", "Ongoing", "Answered", "Failed", "Refused", "p50", "p95", "Breaker"];
  return table("Pools", heads, rows, "There are none to show.");
}

/** The queues of /v1/admin/pools. */
export function queueTable(queues) {
  const rows = Object.entries(queues).map(([name, { waiting, held, slots }]) => [
    h("th", { scope: "row" }, name), number(waiting), number(held), number(slots),
  ]);
  return table("Queues of this gateway", ["Queue", "Waiting", "Held", "Places"], rows, "There are none.");
}

function table(title, heads, rows, nothing) {
  return h(
    "section",
    { class: "stack status-table", "aria-label": title },
    h("h2", {}, title),
    rows.length === 0
      ? h("p", { class: "quiet" }, nothing)
      : h(
          "div",
          { class: "scrolled", tabindex: "0", role: "group", "aria-label": `${title}, table` },
          h(
            "table",
            {},
            h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))),
            h("tbody", {}, rows.map((cells) => h("tr", {}, cells))),
          ),
        ),
  );
}

function number(value) {
  return h("td", { class: "number" }, value === null || value === undefined ? "–" : String(value));
}

function replicaWords(replicas, target) {
  const words = Object.entries(replicas).map(([state, count]) => `${count} ${state}`).join(", ") || "none";
  return target === null || target === (replicas.running ?? 0) ? words : `${words} (of ${target})`;
}

function milliseconds(seconds) {
  return seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(1)} s`;
}
