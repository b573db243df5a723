// How the platform is: its parts, and the last minutes in figures, asked for every two seconds.
import { address, ask, askJson, pause } from "./api.js";
import { fill, h } from "./dom.js";
import { counted, percent, size } from "./formats.js";
import { icon } from "./icons.js";
import { onKeyChange } from "./key.js";
import { announce } from "./notices.js";
import { plot } from "./plot.js";
import { poolTable, queueTable } from "./pool_tables.js";
import { Readings } from "./readings.js";

export const styles = ["status.css"];

const PERIOD_SECONDS = 2;
const STATES = {
  ready: ["good", "check", "Ready"],
  degraded: ["warn", "warning", "Running without some parts"],
  starting: ["warn", "clock", "Starting"],
  silent: ["bad", "warning", "Does not answer"],
};

const seconds = (value) => (value < 1 ? `${Math.round(value * 1000)} ms` : `${value.toFixed(1)} s`);
const few = (value) => (value < 10 ? value.toFixed(1) : String(Math.round(value)));

export function create() {
  const state = h("span", { class: "chip" }, "Asking …");
  const parts = h("ul", { class: "row status-parts", "aria-label": "Parts of the platform" });
  const pauseButton = h("button", { type: "button", "aria-pressed": "false", onclick: togglePause }, "Pause");
  const barred = h("div", { class: "card stack", hidden: true });
  const plots = makePlots();
  const pools = poolTable();
  const queues = queueTable();
  const figures = h(
    "div",
    { class: "stack status-figures" },
    h("div", { class: "plots" }, Object.values(plots)),
    pools,
    queues,
    h("p", { class: "small quiet" },
      "Rates and times are of the last minute, as the gateway counts them that answers; behind a load balancer it may be another one the next time."),
  );
  const element = h(
    "section",
    { class: "view stack", "aria-labelledby": "status-title" },
    h("div", { class: "row spread" }, h("h1", { id: "status-title" }, "Status"), h("div", { class: "row" }, state, pauseButton)),
    parts,
    barred,
    figures,
  );

  let readings = new Readings();
  let stop = null;
  let paused = false;
  let status = null;

  function togglePause() {
    paused = !paused;
    pauseButton.setAttribute("aria-pressed", String(paused));
    pauseButton.textContent = paused ? "Paused" : "Pause";
  }

  async function watch() {
    stop?.abort();
    const here = (stop = new AbortController());
    let mayAsk = true;
    try {
      while (!here.signal.aborted) {
        if (!paused && document.visibilityState === "visible") {
          await tellReady(here.signal);
          if (mayAsk) mayAsk = await tellFigures(here.signal);
        }
        await pause(PERIOD_SECONDS * 1000, here.signal);
      }
    } catch (error) {
      if (error.name !== "AbortError") throw error;
    }
  }

  async function tellReady(signal) {
    let found = { status: "silent", deployments: {} };
    try {
      found = await (await fetch(address("ready"), { signal, cache: "no-store" })).json();
    } catch (error) {
      if (error.name === "AbortError") throw error;
    }
    const [tone, sign, words] = STATES[found.status] ?? STATES.silent;
    state.className = `chip ${tone}`;
    fill(state, icon(sign), words);
    if (status !== null && status !== found.status) announce(`The platform: ${words}`);
    status = found.status;
    fill(parts, Object.entries(found.deployments ?? {}).map(([name, is]) =>
      h("li", { class: `chip ${is === "ready" ? "good" : "warn"}` }, icon(is === "ready" ? "check" : "clock"), `${name}: ${is}`),
    ));
  }

  /** Whether to ask again: a key that may not see the figures stays one. */
  async function tellFigures(signal) {
    let text, told;
    try {
      [text, told] = await Promise.all([
        ask("metrics", { signal }).then((answer) => answer.text()),
        askJson("v1/admin/pools", { signal }),
      ]);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      if (![401, 403].includes(error.status)) return true; // it does not answer now: it may the next time
      figures.hidden = true;
      barred.hidden = false;
      fill(
        barred,
        h("p", {}, error.status === 403
          ? "The figures are for the operator: the key in use lacks the scope admin. Whether the platform is ready stands above."
          : "The figures need a key with the scope admin. Whether the platform is ready stands above."),
        h("div", {}, h("button", { type: "button", onclick: () => { readings = new Readings(); watch(); } }, icon("again"), "Try again")),
      );
      return false;
    }
    figures.hidden = false;
    barred.hidden = true;
    showFigures(readings.take(text, performance.now() / 1000));
    pools.update(told.data);
    queues.update(told.queues);
    return true;
  }

  function showFigures(found) {
    const now = performance.now() / 1000;
    const { p50, p95 } = found.firstToken;
    const ever = found.sinceStart;
    plots.firstToken.push(now, [p50, p95], ever.firstToken.p50 === null
      ? "No answer was streamed since the gateway started."
      : `Since the gateway started: p50 ${seconds(ever.firstToken.p50)}, p95 ${seconds(ever.firstToken.p95)}.`);
    plots.tokens.push(now, [found.tokensPerSecond]);
    plots.requests.push(now, [found.requestsPerSecond], `${counted(found.inProgress, "request")} under way, this page's own among them.`);
    plots.cache.push(now, [found.cacheHits], ever.cacheHits === null
      ? "Nothing was looked up since the gateway started."
      : `Since the gateway started: ${percent(ever.cacheHits)}.`);
    const { memory, gpus } = found;
    plots.memory.push(now, [memory && memory.used / memory.limit], memory ? `${size(memory.used)} of ${size(memory.limit)}.` : "Not known.");
    const used = gpus.reduce((sum, gpu) => sum + gpu.used, 0);
    const limit = gpus.reduce((sum, gpu) => sum + gpu.limit, 0);
    plots.gpu.push(now, [limit ? used / limit : null], limit
      ? `${size(used)} of ${size(limit)} on ${counted(gpus.length, "GPU")}${busyWords(gpus)}.`
      : "No GPU: the models run on the processor.");
  }

  onKeyChange(() => {
    if (element.isConnected) watch();
  });

  return {
    element,
    show: () => void watch(),
    hide: () => stop?.abort(),
  };
}

function busyWords(gpus) {
  const known = gpus.filter((gpu) => gpu.busy !== null);
  if (!known.length) return "";
  return `, busy ${percent(known.reduce((sum, gpu) => sum + gpu.busy, 0) / known.length)} of the time`;
}

function makePlots() {
  return {
    firstToken: plot({ title: "Time to first token", what: "", series: ["p50", "p95"], format: seconds }),
    tokens: plot({ title: "Tokens per second", what: "Written by the model, all answers together.", series: ["tokens"], format: few }),
    requests: plot({ title: "Requests per second", what: "", series: ["requests"], format: few }),
    cache: plot({ title: "Cache hit rate", what: "", series: ["hits"], format: percent, limit: 1 }),
    memory: plot({ title: "Memory", what: "", series: ["used"], format: percent, limit: 1 }),
    gpu: plot({ title: "GPU memory", what: "", series: ["used"], format: percent, limit: 1 }),
  };
}
