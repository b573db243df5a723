// Which model answers, and how.
import { askJson } from "./api.js";
import { fill, h, newId } from "./dom.js";
import { icon } from "./icons.js";
import { complain } from "./notices.js";

/** Fields for `options` (see `Conversation`), which they write into; `changed` is called then. `load()` asks for models. */
export function chatOptions(options, changed) {
  const model = h("select", { "aria-label": "Model", onchange: () => set("model", model.value) });
  const id = newId("options");
  const panel = h(
    "div",
    { class: "chat-options card", id, hidden: true },
    h("label", { class: "field" }, "System prompt", field("textarea", "system", { rows: 3, placeholder: "You are brief and exact." })),
    h("label", { class: "field" }, "Temperature", number("temperature", { min: 0, max: 2, step: 0.1, placeholder: "as the model is set" })),
    h("label", { class: "field" }, "Longest answer (tokens)", number("max_tokens", { min: 1, step: 1, placeholder: "as long as it likes" })),
  );
  const toggle = h(
    "button",
    { type: "button", class: "plain round", "aria-label": "Options", title: "Options", "aria-expanded": "false", "aria-controls": id, onclick: flip },
    icon("options"),
  );
  let loading = null;

  function set(name, value) {
    if (value === "" || Number.isNaN(value)) delete options[name];
    else options[name] = value;
    changed();
  }

  function field(tag, name, properties) {
    return h(tag, { ...properties, value: options[name] ?? "", onchange: (event) => set(name, event.target.value.trim()) });
  }

  function number(name, properties) {
    const kept = options[name] ?? "";
    return h("input", { type: "number", ...properties, value: kept, onchange: (event) => set(name, event.target.valueAsNumber) });
  }

  function flip() {
    panel.hidden = !panel.hidden;
    toggle.setAttribute("aria-expanded", String(!panel.hidden));
  }

  function load() {
    loading ??= askJson("v1/models")
      .then(({ data }) => {
        const names = data.filter((one) => one.manymodal?.task === "chat").map((one) => one.id);
        if (!names.includes(options.model)) delete options.model;
        fill(model, names.map((name) => h("option", { value: name }, name)));
        model.value = options.model ?? names[0] ?? "";
      })
      .catch(complain)
      .finally(() => { loading = null; });
    return loading;
  }

  return { element: h("div", { class: "chat-model" }, model, toggle, panel), load };
}
