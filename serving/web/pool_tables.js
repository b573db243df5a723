// The deployments and the queues before them, as tables that are told anew while they are looked at.
import { fill, h } from "./dom.js";

const TONES = { healthy: "good", scaling: "accent", updating: "accent", unhealthy: "bad", unknown: "warn" };

/** A table of pools; `update(pools)` takes those of /v1/admin/pools. */
export function poolTable() {
  const heads = ["Pool", "Health", "Replicas", "Ongoing", "Answered", "Failed", "Refused", "p50", "p95", "Breaker"];
  const element = table("Pools", heads, "Nothing is known of pools here.");
  element.update = (pools) => element.tell(pools.map(({ name, health, replicas, target_replicas: target, calls }) => [
    h("th", { scope: "row" }, name),
    h("td", {}, h("span", { class: `chip ${TONES[health] ?? ""}` }, health)),
    number(replicaWords(replicas, target)),
    number(calls?.ongoing),
    number(calls?.answered),
    number(calls && calls.failed + calls.broken_off),
    number(calls && calls.refused + calls.refused_open),
    number(calls?.latency_seconds && milliseconds(calls.latency_seconds.p50)),
    number(calls?.latency_seconds && milliseconds(calls.latency_seconds.p95)),
    h("td", {}, calls ? calls.breaker.replaceAll("_", " ") : "–"),
  ]));
  return element;
}

/** A table of queues; `update(queues)` takes those of /v1/admin/pools. */
export function queueTable() {
  const element = table("Queues of this gateway", ["Queue", "Waiting", "Held", "Places"], "There are none.");
  element.update = (queues) => element.tell(Object.entries(queues).map(([name, { waiting, held, slots }]) => [
    h("th", { scope: "row" }, name), number(waiting), number(held), number(slots),
  ]));
  return element;
}

function table(title, heads, nothing) {
  const body = h("tbody");
  const rows = h(
    "div",
    { class: "scrolled", tabindex: "0", role: "group", "aria-label": `${title}, table` },
    h("table", {}, h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))), body),
  );
  const none = h("p", { class: "quiet" }, nothing);
  const element = h("section", { class: "stack status-table", "aria-label": title }, h("h2", {}, title), rows, none);
  element.tell = (lines) => {
    fill(body, lines.map((cells) => h("tr", {}, cells)));
    rows.hidden = lines.length === 0;
    none.hidden = lines.length > 0;
  };
  element.tell([]);
  return element;
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
