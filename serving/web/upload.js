// Bringing files in, with progress: `fetch` does not tell how much was sent, so this is `XMLHttpRequest`'s work.
import { ApiError, address, ask, askJson, keyHeaders } from "./api.js";
import { apiKey } from "./key.js";
import { askForKey } from "./key_dialog.js";

const IN_ONE_PIECE_BYTES = 24 * 2 ** 20;
const PART_BYTES = 8 * 2 ** 20;

/**
 * Store a file, and give the medium as `/v1/media` tells it. `onProgress` is told the share that is sent, 0 to 1; after
 * 1 the server still looks at it. `signal` ends it. Large files go in parts (`/v1/uploads`).
 */
export async function upload(file, { onProgress = () => {}, signal } = {}) {
  if (file.size === 0) throw new ApiError(`${file.name || "The file"} is empty.`);
  if (file.size > IN_ONE_PIECE_BYTES) return inParts(file, onProgress, signal);
  const form = new FormData();
  form.append("file", file, file.name || "file");
  return posted("v1/media", form, (sent) => onProgress(Math.min(1, sent / file.size)), signal);
}

async function inParts(file, onProgress, signal) {
  const wanted = {
    filename: file.name || "file", purpose: "user_data", bytes: file.size, mime_type: file.type || "application/octet-stream",
  };
  const { id } = await askJson("v1/uploads", { json: wanted, signal });
  try {
    const parts = [];
    for (let start = 0; start < file.size; start += PART_BYTES) {
      const form = new FormData();
      form.append("data", file.slice(start, start + PART_BYTES), "part");
      const tell = (sent) => onProgress(Math.min(1, (start + sent) / file.size));
      parts.push((await posted(`v1/uploads/${id}/parts`, form, tell, signal)).id);
    }
    const whole = await askJson(`v1/uploads/${id}/complete`, { json: { part_ids: parts }, signal });
    return await askJson(`v1/media/${whole.file.id}`, { signal });
  } catch (error) {
    ask(`v1/uploads/${id}/cancel`, { method: "POST", quiet: true }).catch(() => {}); // it would end by itself in an hour
    throw error;
  }
}

async function posted(path, form, onSent, signal) {
  try {
    return await post(path, form, onSent, signal);
  } catch (error) {
    if (error.status !== 401) throw error;
    const reason = apiKey() === null ? "This server needs an API key." : error.message;
    if (!(await askForKey(reason))) throw error;
    return post(path, form, onSent, signal);
  }
}

function post(path, form, onSent, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const stop = () => request.abort();
    request.open("POST", address(path));
    for (const [name, value] of Object.entries(keyHeaders())) request.setRequestHeader(name, value);
    request.responseType = "json";
    request.upload.addEventListener("progress", (event) => onSent(event.loaded));
    request.addEventListener("load", () => {
      if (request.status < 300) resolve(request.response);
      else reject(refusal(request));
    });
    request.addEventListener("error", () => reject(new ApiError("The upload broke off: the server cannot be reached.")));
    request.addEventListener("abort", () => reject(new DOMException("Stopped.", "AbortError")));
    request.addEventListener("loadend", () => signal?.removeEventListener("abort", stop));
    if (signal?.aborted) {
      reject(new DOMException("Stopped.", "AbortError"));
      return;
    }
    signal?.addEventListener("abort", stop, { once: true });
    request.send(form);
  });
}

function refusal(request) {
  const told = request.response?.error;
  return new ApiError(told?.message ?? `The server answered with status ${request.status}.`, {
    status: request.status,
    code: told?.code ?? null,
    param: told?.param ?? null,
    retryAfterSeconds: Number(request.getResponseHeader("retry-after")) || null,
  });
}
