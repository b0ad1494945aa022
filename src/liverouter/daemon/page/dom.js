// Elements, words and times. Nothing in here parses HTML, so no text from anywhere can become markup.

const SVG = "http://www.w3.org/2000/svg";

/** The element with this id. */
export const $ = (id) => document.getElementById(id);

/** An element: on… are listeners, true and false set and leave out an attribute, null children are skipped. */
export const h = (tag, props, ...children) => fill(document.createElement(tag), props, children);

/** The same for SVG. */
export const s = (tag, props, ...children) => fill(document.createElementNS(SVG, tag), props, children);

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child != null && child !== false));
  return element;
}

/** A button that submits nothing. */
export const button = (text, onclick, props) => h("button", { type: "button", onclick, ...props }, text);

/** Set the text only when it differs: a live region is not read aloud again for nothing. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** "2 of 3 processes": the noun in the number's form. */
export const count = (n, noun, many = noun + "s") => `${n} ${n === 1 ? noun : many}`;

export const ms = (value) => (value == null ? "" : value < 9950 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(1)} s`);

const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60]];
const words = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

/** A <time> that says how long ago; the exact time is its tooltip. */
export function ago(iso) {
  const at = new Date(iso);
  return h("time", { datetime: iso, title: at.toLocaleString() }, since(at));
}

function since(at) {
  const seconds = (Date.now() - at) / 1000;
  const [unit, length] = UNITS.find(([, size]) => seconds >= size) ?? [null, 1];
  return unit ? words.format(-Math.floor(seconds / length), unit) : "just now";
}

/** Refresh what `ago` made, as time goes by. */
export function keepTime() {
  setInterval(() => document.querySelectorAll("time").forEach((t) => say(t, since(new Date(t.dateTime)))), 15000);
}

/** Show the page's one dialog and resolve with the value of the button that closed it, "" for Escape. */
export function ask(title, content, ...buttons) {
  const dialog = $("dialog");
  dialog.replaceChildren(
    h("form", { method: "dialog" },
      h("h2", { id: "dialog-title" }, title),
      h("div", { class: "dialog-body" }, content),
      h("div", { class: "actions" }, buttons.map(([text, value, cls]) => h("button", { value, class: cls, autofocus: cls === "primary" }, text)))));
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true }));
}
