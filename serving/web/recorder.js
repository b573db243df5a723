// Recording from the microphone, into a file that the platform reads.
import { h } from "./dom.js";
import { clock } from "./formats.js";
import { icon } from "./icons.js";
import { notify } from "./notices.js";

const FORMS = [
  ["audio/webm;codecs=opus", "webm"],
  ["audio/ogg;codecs=opus", "ogg"],
  ["audio/mp4", "m4a"],
];
const LONGEST_SECONDS = 600;

/**
 * A button that records: pressed once it begins, pressed again it ends and `onFile` is given the recording. `label` says
 * what it is for.
 */
export function recordButton(onFile, { label = "Record from the microphone" } = {}) {
  const time = h("span", { class: "number small", hidden: true });
  const button = h(
    "button",
    { type: "button", class: "plain round record", "aria-label": label, title: label, "aria-pressed": "false", onclick: toggle },
    icon("microphone"),
    time,
  );
  let recording = null;
  let turn = 0; // of pressing: who is asked for the microphone may be told no more of it

  async function toggle() {
    if (recording) {
      recording.stop();
      return;
    }
    button.disabled = true;
    const mine = ++turn;
    try {
      const begins = await begun();
      if (mine !== turn) {
        begins.stop(); // of no recording: nobody gets it
        return;
      }
      recording = begins;
      show();
    } catch (error) {
      notify(sentenceFor(error), { kind: "bad" });
    } finally {
      button.disabled = false;
    }
  }

  async function begun() {
    if (!navigator.mediaDevices || !window.MediaRecorder) throw new DOMException("", "NotSupportedError");
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    const [type, ending] = FORMS.find(([form]) => MediaRecorder.isTypeSupported(form)) ?? ["", "webm"];
    const recorder = new MediaRecorder(stream, type ? { mimeType: type } : {});
    const pieces = [];
    const started = Date.now();
    const timer = setInterval(() => {
      const seconds = (Date.now() - started) / 1000;
      time.textContent = clock(seconds);
      if (seconds >= LONGEST_SECONDS) recorder.stop();
    }, 250);
    recorder.ondataavailable = (event) => pieces.push(event.data);
    recorder.onstop = () => {
      clearInterval(timer);
      for (const track of stream.getTracks()) track.stop();
      const kept = recording === recorder;
      if (kept) recording = null;
      show();
      if (!kept) return;
      if (!pieces.some((piece) => piece.size)) {
        notify("Nothing was recorded: it was stopped at once.");
        return;
      }
      const bare = recorder.mimeType.split(";", 1)[0];
      onFile(new File(pieces, `recording-${stamp(started)}.${ending}`, { type: bare }));
    };
    recorder.start(1000);
    return recorder;
  }

  function show() {
    const on = recording !== null;
    button.setAttribute("aria-pressed", String(on));
    button.setAttribute("aria-label", on ? "Stop recording" : label);
    button.title = on ? "Stop recording" : label;
    button.classList.toggle("recording", on);
    button.firstElementChild.replaceWith(icon(on ? "stop" : "microphone"));
    time.hidden = !on;
    time.textContent = clock(0);
  }

  // Whoever goes elsewhere sees no more that it records: it ends, and nothing of it is kept.
  window.addEventListener("hashchange", () => {
    const running = recording;
    recording = null;
    turn += 1;
    running?.stop();
  });
  return button;
}

function sentenceFor(error) {
  if (error.name === "NotAllowedError") return "The browser was not allowed to use the microphone.";
  if (error.name === "NotFoundError") return "There is no microphone.";
  if (error.name === "NotSupportedError") {
    return "The browser records only on this machine's own address or over https.";
  }
  return "The microphone could not be used.";
}

function stamp(milliseconds) {
  return new Date(milliseconds).toTimeString().slice(0, 8).replaceAll(":", "");
}
