// Where a question is written, and where its media go.
import { Attachments } from "./attachments.js";
import { h } from "./dom.js";
import { pickFiles } from "./drop.js";
import { icon } from "./icons.js";
import { recordButton } from "./recorder.js";

/**
 * The composer. `onSend({ text, media })`; `onStop()`. The object has `element`, `attach(files)`, `attachStored(medium)`,
 * `clear()`, `focus()`, `running(on)` and `write(text)`.
 */
export function composer({ onSend, onStop }) {
  let running = false;
  const attachments = new Attachments(update);
  const text = h("textarea", {
    id: "question", rows: 1, placeholder: "Ask something…", "aria-label": "Your question", enterkeyhint: "send",
    oninput: update, onkeydown: key,
  });
  const send = h("button", { type: "submit", class: "main round", "aria-label": "Send", title: "Send (Enter)" }, icon("send"));
  const stop = h(
    "button", { type: "button", class: "main round", "aria-label": "Stop", title: "Stop (Esc)", onclick: onStop, hidden: true }, icon("stop"),
  );
  const element = h(
    "form",
    { class: "composer", onsubmit: submit },
    attachments.element,
    text,
    h(
      "div",
      { class: "composer-tools" },
      h(
        "button",
        {
          type: "button", class: "plain round", "aria-label": "Attach images, audio or video", title: "Attach images, audio or video",
          onclick: () => pickFiles((files) => attachments.add(files)),
        },
        icon("attach"),
      ),
      recordButton((file) => attachments.add([file])),
      h("span", { class: "composer-hint small quiet" }, "Drop or paste images, audio and video here"),
      send,
      stop,
    ),
  );

  function update() {
    send.disabled = running || attachments.busy || (!text.value.trim() && !attachments.ready.length);
    send.title = attachments.busy ? "Media are still being uploaded" : "Send (Enter)";
    if (!CSS.supports("field-sizing", "content")) {
      text.style.height = "auto";
      text.style.height = `${text.scrollHeight + 2}px`;
    }
  }

  function key(event) {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      submit(event);
    } else if (event.key === "Escape" && running) {
      onStop();
    }
  }

  function submit(event) {
    event.preventDefault();
    update();
    if (send.disabled) return;
    const question = { text: text.value.trim(), media: attachments.take() };
    text.value = "";
    update();
    onSend(question);
  }

  update();
  return {
    element,
    attach: (files) => attachments.add(files),
    attachStored: (medium) => attachments.addStored(medium),
    clear() {
      attachments.take();
      text.value = "";
      update();
    },
    focus: () => text.focus({ preventScroll: true }),
    running(on) {
      running = on;
      const held = document.activeElement === (on ? send : stop);
      send.hidden = on;
      stop.hidden = !on;
      update();
      if (held) (on ? stop : text).focus({ preventScroll: true });
    },
    write(words) {
      text.value = words;
      update();
      text.focus({ preventScroll: true });
    },
  };
}
