// The chat: a conversation about anything, with what each answer used of its media.
import { askEvents, askJson } from "./api.js";
import { chatOptions } from "./chat_options.js";
import { composer } from "./composer.js";
import { Conversation } from "./conversation.js";
import { h } from "./dom.js";
import { takeFiles } from "./drop.js";
import { counted } from "./formats.js";
import { icon } from "./icons.js";
import { onKeyChange } from "./key.js";
import { announce, complain } from "./notices.js";
import { noteRoute, routeTo } from "./router.js";
import { answer, question } from "./turn.js";

export const styles = ["chat.css", "evidence.css"];

const NEAR_END_PIXELS = 120;
const SHORTEST_SECONDS = 0.05; // of an answer whose tokens a second say something

export function create() {
  const conversation = new Conversation();
  const turns = h("div", { class: "turns" });
  const nothing = welcome((words) => writing.write(words));
  const writing = composer({ onSend: send, onStop: () => running?.abort() });
  const options = chatOptions(conversation.options, () => conversation.keep());
  const fresh = h("button", { type: "button", class: "plain", onclick: clear }, icon("add"), "New chat");
  const element = h(
    "section",
    { class: "chat" },
    h("header", { class: "chat-head" }, h("h1", {}, "Chat"), options.element, fresh),
    nothing,
    turns,
    h("div", { class: "chat-foot" }, writing.element),
  );
  let running = null;
  let shownTurns = []; // { turn, element, show } of each turn, in order

  takeFiles(element, writing.attach);
  onKeyChange((gone) => {
    if (gone) {
      running?.abort();
      conversation.clear();
      writing.clear();
      showTurns();
    }
    options.load();
  });
  showTurns();

  /** Show what there is now. Turns that are shown already stay as they are, with what was opened in them. */
  function showTurns() {
    const { turns: all } = conversation;
    const same = shownTurns.findIndex(({ turn }, index) => turn !== all[index]);
    for (const gone of same < 0 ? [] : shownTurns.splice(same)) gone.element.remove();
    for (const turn of all.slice(shownTurns.length)) {
      const made = turn.role === "user" ? { element: question(turn) } : answer({ again, filename: (id) => conversation.filename(id) });
      shownTurns.push({ turn, ...made });
      turns.append(made.element);
    }
    shownTurns.forEach(({ turn, show }, index) => show?.(turn, { last: index === all.length - 1 }));
    nothing.hidden = all.length > 0;
    fresh.hidden = all.length === 0;
  }

  function send({ text, media }) {
    conversation.turns.push({ role: "user", text, media });
    ask();
  }

  function again() {
    if (running) return;
    while (conversation.turns.at(-1)?.role === "assistant") conversation.turns.pop();
    ask();
  }

  async function ask() {
    const body = conversation.request();
    const asked = conversation.turns.at(-1);
    const turn = { role: "assistant", text: "", waiting: waitingFor(asked) };
    conversation.turns.push(turn);
    conversation.keep();
    showTurns();
    scroll(true);
    running = new AbortController();
    writing.running(true);
    fresh.disabled = true;
    announce("The answer is on its way.");
    await stream(body, turn, shownTurns.at(-1));
    running = null;
    delete turn.waiting;
    conversation.keep();
    showTurns();
    fresh.disabled = false;
    writing.running(false);
    if (!conversation.turns.includes(turn)) return; // it went with the key
    announce(turn.error ?? `The answer is complete. ${turn.text}`);
    scroll();
  }

  /** Fill `turn` with what comes, and show it as often as the screen can. */
  async function stream(body, turn, shown) {
    const started = performance.now();
    let first = null;
    let pending = false;
    const show = () => {
      if (pending) return;
      pending = true;
      requestAnimationFrame(() => {
        pending = false;
        if (running === null) return;
        const follow = atEnd();
        shown.show(turn, { running: true });
        if (follow) scroll(true);
      });
    };
    show();
    try {
      for await (const chunk of askEvents("v1/chat/completions", body, { signal: running.signal })) {
        turn.model = chunk.model;
        const choice = chunk.choices[0];
        if (choice?.delta.content) {
          first ??= performance.now();
          turn.text += choice.delta.content;
        }
        if (choice?.finish_reason) turn.finish = choice.finish_reason;
        if (chunk.usage) turn.usage = chunk.usage;
        if (chunk.manymodal) {
          turn.media = chunk.manymodal.media;
          turn.degraded = chunk.manymodal.degraded;
        }
        show();
      }
      if (!turn.text && !turn.error) turn.error = "The model gave an empty answer.";
    } catch (error) {
      if (error.name === "AbortError") turn.stopped = true;
      else turn.error = error.message;
    }
    if (first === null) return;
    turn.first_seconds = (first - started) / 1000;
    const seconds = (performance.now() - first) / 1000;
    if (turn.usage?.completion_tokens > 1 && seconds > SHORTEST_SECONDS) turn.rate = (turn.usage.completion_tokens - 1) / seconds;
  }

  function clear() {
    conversation.clear();
    showTurns();
    writing.focus();
  }

  async function attachStored(ids) {
    for (const id of ids) {
      try {
        writing.attachStored(await askJson(`v1/media/${encodeURIComponent(id)}`));
      } catch (error) {
        complain(error);
      }
    }
  }

  return {
    element,
    async show({ query }) {
      options.load();
      const ids = query.get("media")?.split(",").filter(Boolean) ?? [];
      if (ids.length) {
        noteRoute(routeTo("chat"));
        await attachStored(ids);
      }
      if (matchMedia("(hover: hover)").matches) writing.focus(); // on a phone a keyboard would come up
      scroll(true);
    },
  };
}

function waitingFor(asked) {
  const media = asked?.media ?? [];
  return media.length ? `Looking at ${counted(media.length, "medium", "media")}…` : "";
}

function atEnd() {
  const page = document.scrollingElement;
  return page.scrollHeight - page.scrollTop - page.clientHeight < NEAR_END_PIXELS;
}

function scroll(always = false) {
  if (always || atEnd()) window.scrollTo(0, document.scrollingElement.scrollHeight);
}

const STARTS = [
  ["image", "Ask about a photo", "What is in this picture? Read the text in it, too."],
  ["video", "Ask about a video", "Tell what happens in this video, in order."],
  ["audio", "Ask about a recording", "Summarise what is said in this recording."],
];

function welcome(write) {
  return h(
    "div",
    { class: "welcome" },
    h("h2", {}, "Ask about anything you can see, hear or read"),
    h("p", { class: "quiet" }, "Drop images, audio or video anywhere on this page, paste them, or record your voice. Everything stays on this server."),
    h(
      "ul",
      { class: "starts" },
      STARTS.map(([kind, title, words]) =>
        h("li", {}, h("button", { type: "button", onclick: () => write(words) }, icon(kind), h("span", {}, h("strong", {}, title), h("span", { class: "quiet small" }, words)))),
      ),
    ),
  );
}
