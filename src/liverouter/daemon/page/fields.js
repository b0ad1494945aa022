// Labelled controls, and Problems shown beside the control that they are about.

import { ago, button, h } from "./dom.js";

let serial = 0;

/** A control with its label, help, and a slot for the Problems at the places *where*. */
export function field(label, control, { help, where = [], wide } = {}) {
  const id = (control.id ||= `f${++serial}`);
  const fault = h("p", { class: "fault", id: `${id}-fault`, "data-where": where.join("|"), "data-for": id, hidden: true });
  const hint = help && h("p", { class: "help", id: `${id}-help` }, help);
  control.setAttribute("aria-describedby", [hint?.id, fault.id].filter(Boolean).join(" "));
  return h("div", { class: wide ? "field wide" : "field" }, h("label", { for: id }, label), control, hint, fault);
}

/** A text or number input; *onvalue* gets the value, undefined when it was emptied. */
export function input({ value, type = "text", onvalue, ...props }) {
  const read = (text) => (text === "" ? undefined : type === "number" ? Number(text) : text);
  return h("input", {
    type, value: value ?? "", spellcheck: "false", autocapitalize: "off", autocomplete: "off",
    step: type === "number" ? "any" : null, ...props,
    oninput: (event) => onvalue(read(event.target.value.trim())),
  });
}

/** A choice; *options* are [value, text] pairs. */
export function select({ value, options, onvalue, ...props }) {
  return h("select", { ...props, onchange: (event) => onvalue(event.target.value) },
    options.map(([key, text]) => h("option", { value: key, selected: key === (value ?? "") }, text)));
}

/** An on/off switch. */
export const toggle = ({ value, onvalue, ...props }) =>
  h("input", { type: "checkbox", role: "switch", class: "switch", checked: value, ...props, onchange: (event) => onvalue(event.target.checked) });

/**
 * A secret that can be written and never read: what is stored, and a way to replace or remove it.
 * *edited* is the unsaved value: undefined for none, null for "remove".
 */
export function secret({ name, stored, environment, edited, example, long, onvalue, onchange, key }) {
  const id = `f${++serial}`;
  const act = (text, value, label) =>
    button(text, () => { onvalue(value); onchange(key); }, { class: "plain", "aria-label": `${text} ${name}`, "data-key": label });
  if (edited === null) {
    return h("div", { id, class: "stored", tabindex: "-1" }, h("code", {}, "will be removed"), act("Undo", undefined, key));
  }
  if (edited === undefined && stored) {
    return h("div", { id, class: "stored", tabindex: "-1" },
      h("code", { title: "Fingerprint of the stored secret" }, stored.fingerprint), act("Replace", "", key), act("Remove", null),
      h("small", {}, "stored ", ago(stored.updated_at), ` by ${stored.updated_by}`));
  }
  const control = h(long ? "textarea" : "input", {
    id, type: long ? null : "password", rows: long ? "2" : null, class: long ? "hidden-text" : null,
    placeholder: environment ? `from ${environment.source}` : example, autocomplete: "new-password", spellcheck: "false", "data-key": key,
    oninput: (event) => onvalue(event.target.value.trim() || (stored ? "" : undefined)),
  });
  control.value = edited ?? "";
  return stored ? h("div", { class: "replace" }, control, act("Keep the stored one", undefined)) : control;
}

/** Show each Problem beside its control, and return those that no control is about. */
export function place(problems) {
  const slots = [...document.querySelectorAll("[data-where]")].map((slot) => [slot, slot.dataset.where.split("|")]);
  for (const [slot] of slots) show(slot, []);
  const found = new Map();
  const left = problems.filter((problem) => {
    const near = (places) => places.some((at) => at && (problem.where === at || problem.where.startsWith(at + ".")));
    const slot = (slots.find(([, places]) => places.includes(problem.where)) ?? slots.find(([, places]) => near(places)))?.[0];
    if (slot) found.set(slot, [...(found.get(slot) ?? []), problem]);
    return !slot;
  });
  found.forEach((list, slot) => show(slot, list));
  return left;
}

function show(slot, problems) {
  slot.replaceChildren(...problems.map((p) => h("span", { class: p.severity }, sentence(p.message), p.hint ? ` ${sentence(p.hint)}` : "")));
  slot.hidden = !problems.length;
  const control = document.getElementById(slot.dataset.for);
  control?.toggleAttribute("aria-invalid", problems.some((p) => p.severity === "error"));
  if (control?.hasAttribute("aria-invalid")) control.setAttribute("aria-invalid", "true");
  if (problems.length) slot.closest("details")?.setAttribute("open", "");
}

/** "what happened" as "What happened." */
export const sentence = (text) => (text ? text[0].toUpperCase() + text.slice(1) + (/[.?!]$/.test(text) ? "" : ".") : "");
