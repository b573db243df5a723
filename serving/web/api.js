// The API, as the page asks it. What goes wrong is an `ApiError` whose message is the server's own sentence.
import { eventsOf } from "./events.js";
import { apiKey } from "./key.js";
import { askForKey } from "./key_dialog.js";

const LONGEST_WAIT_SECONDS = 10;

/** `message` is for people; `status` is 0 when there was no answer; `retryAfterSeconds` where the server said so. */
export class ApiError extends Error {
  constructor(message, { status = 0, code = null, param = null, retryAfterSeconds = null, requestId = null } = {}) {
    super(message);
    this.name = "ApiError";
    Object.assign(this, { status, code, param, retryAfterSeconds, requestId });
  }
}

/** The address of a path of the API; the page may lie below a path itself. `query` are its parameters. */
export function address(path, query = {}) {
  const url = new URL(path.replace(/^\//, ""), document.baseURI);
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined) url.searchParams.append(name, String(value));
  }
  return url;
}

/** Headers that say who asks. */
export function keyHeaders() {
  const key = apiKey();
  return key === null ? {} : { Authorization: `Bearer ${key}` };
}

/**
 * Ask for `path` and give the response, if it is a good one. `json` or `form` make it a POST.
 *
 * Asks for a key when the server wants one, and then once again. What is only read waits once, up to ten seconds,
 * when the server says when to come back. `quiet`: ask nobody for a key.
 */
export async function ask(path, { method, json, form, query, signal, headers = {}, quiet = false } = {}) {
  const how = method ?? (json !== undefined || form !== undefined ? "POST" : "GET");
  let keyTried = quiet;
  let waited = how !== "GET";
  for (;;) {
    const answer = await sent(address(path, query), how, { json, form, signal, headers });
    if (answer.ok) return answer;
    const error = await errorOf(answer);
    if (error.status === 401 && !keyTried) {
      keyTried = true;
      if (await askForKey(apiKey() === null ? "This server needs an API key." : error.message)) continue;
    } else if (!waited && [429, 503].includes(error.status) && error.retryAfterSeconds <= LONGEST_WAIT_SECONDS) {
      waited = true;
      await pause((error.retryAfterSeconds ?? 1) * 1000, signal);
      continue;
    }
    throw error;
  }
}

async function sent(url, method, { json, form, signal, headers }) {
  const request = { method, signal, headers: { ...keyHeaders(), ...headers }, cache: "no-store", redirect: "error" };
  if (json !== undefined) {
    request.headers["Content-Type"] = "application/json";
    request.body = JSON.stringify(json);
  } else if (form !== undefined) {
    request.body = form;
  }
  try {
    return await fetch(url, request);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The server cannot be reached. Is it still running?");
  }
}

/** The error that an answer tells; also for answers that are not ours (a proxy's). */
export async function errorOf(answer) {
  let told = null;
  try {
    told = (await answer.json()).error;
  } catch {
    // Not JSON: the status has to do.
  }
  return new ApiError(told?.message || `The server answered with status ${answer.status}.`, {
    status: answer.status,
    code: told?.code ?? null,
    param: told?.param ?? null,
    retryAfterSeconds: Number(answer.headers.get("retry-after")) || null,
    requestId: answer.headers.get("x-request-id"),
  });
}

/** The JSON that `path` answers; options as of `ask`. */
export async function askJson(path, options) {
  return (await ask(path, options)).json();
}

/**
 * The events of a streamed answer, parsed; ends with `[DONE]` or with the stream. An `error` event is thrown.
 * `signal` ends it: the server then stops working on it.
 */
export async function* askEvents(path, json, { signal } = {}) {
  const answer = await ask(path, { json, signal, headers: { Accept: "text/event-stream" } });
  try {
    for await (const data of eventsOf(answer.body)) {
      if (data === "[DONE]") return;
      const event = JSON.parse(data);
      if (event.error) throw new ApiError(event.error.message, { status: answer.status, code: event.error.code });
      yield event;
    }
  } catch (error) {
    if (error instanceof ApiError || error.name === "AbortError") throw error;
    if (signal?.aborted) throw new DOMException("Stopped.", "AbortError");
    throw new ApiError("The connection to the server broke off in the middle of the answer.");
  }
}

/** Wait; a stopped `signal` ends it with an `AbortError`. */
export function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    let timer = null;
    const stopped = () => {
      clearTimeout(timer);
      reject(new DOMException("Stopped.", "AbortError"));
    };
    if (signal?.aborted) {
      stopped();
      return;
    }
    signal?.addEventListener("abort", stopped, { once: true });
    timer = setTimeout(() => {
      signal?.removeEventListener("abort", stopped);
      resolve();
    }, milliseconds);
  });
}
