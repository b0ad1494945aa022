// Elements and times. Nothing in here parses HTML, so no text can become markup.

export const $ = (id) => document.getElementById(id);

// Make an element: props named on… are listeners; a null or false attribute or child is left out.
export const h = (tag, props, ...children) => fill(document.createElement(tag), props, children);

export const s = (tag, props, ...children) => fill(document.createElementNS("http://www.w3.org/2000/svg", tag), props, children);

function fill(element, props, children) {
	for (const [name, value] of Object.entries(props ?? {})) {
		if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
		else if (value != null && value !== false) element.setAttribute(name, value === true ? "" : value);
	}
	element.append(...children.flat().filter((child) => child != null && child !== false));
	return element;
}

export const button = (text, onclick, props) => h("button", { type: "button", onclick, ...props }, text);

// Set the text only where it differs: else a screen reader reads a live region aloud again.
export function say(element, text) {
	if (element.textContent !== text) element.textContent = text;
}

// Give *element* these children, unless it says the same already: what is under the mouse stays.
export function show(element, ...children) {
	const text = children.map((child) => child.outerHTML ?? child).join("");
	if (element.shown !== text) element.replaceChildren(...children);
	element.shown = text;
}

export const count = (n, noun, many = noun + "s") => `${n} ${n === 1 ? noun : many}`;
export const ms = (value) => (value < 9950 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(1)} s`);

// A time of the day; with its day where that is not today.
export function clock(at) {
	const date = new Date(at), isToday = date.toDateString() === new Date().toDateString();
	return date[isToday ? "toLocaleTimeString" : "toLocaleString"]([], { hour12: false });
}

// Who wrote: the name that the writer gave, which is a claim, and the login, which is not.
export const who = ({ author, role }) => (!role || role === author ? author : `${author} (${role})`);

const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

function since(at) {
	const seconds = (Date.now() - at) / 1000;
	const [unit, length] = [["day", 86400], ["hour", 3600], ["minute", 60]].find(([, size]) => seconds >= size) ?? [];
	return unit ? relative.format(-Math.floor(seconds / length), unit) : "just now";
}

// A <time> that says how long ago, and goes on saying it.
export const ago = (iso) => h("time", { datetime: iso, title: new Date(iso).toLocaleString() }, since(new Date(iso)));
setInterval(() => document.querySelectorAll("time").forEach((time) => say(time, since(new Date(time.dateTime)))), 15000);

// Show the dialog; resolve with the value of the button that closed it, "" for Escape. Enter presses the primary one.
export function ask(title, content, ...buttons) {
	const dialog = $("dialog");
	const made = buttons.map(([text, value, kind]) => (kind === "primary" ? h("button", { value, class: kind, autofocus: true }, text) : button(text, () => dialog.close(value))));
	dialog.replaceChildren(h("form", { method: "dialog" }, h("h2", { id: "dialog-title" }, title), h("div", { class: "stack" }, content), h("div", { class: "actions" }, made)));
	dialog.returnValue = "";
	dialog.showModal();
	return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true }));
}
