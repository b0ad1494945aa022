// Labelled controls, and Problems shown beside the control that they are about.

import { ago, button, h, who } from "./dom.js";
import { tell } from "./words.js";

let serial = 0;

// A control with its label, help, and a slot for the Problems whose `where` is one of *where*.
export function field(label, control, { help, where = [], wide } = {}) {
	const target = control.querySelector(":is(input, textarea, select)") ?? control, id = (target.id ||= `f${++serial}`);
	target.setAttribute("aria-describedby", `${id}-help ${id}-fault`);
	return h("div", { class: wide ? "field wide" : "field" }, h("label", { for: id }, label), control,
		help && h("p", { class: "help", id: `${id}-help` }, help), slot(where, id));
}

// Where the Problems of the places *where* are shown; *id* is the control's, if one is about them.
export const slot = (where, id) => h("p", { class: "fault", id: id && `${id}-fault`, "data-where": where.join("|"), "data-for": id, hidden: true });

// Read text as a number or as JSON, where it is that; what is not is given as text, so that the check says what is wrong
// with it: a browser's own number input gives an empty value for "0,5".
function read(text, type) {
	if (text === "") return undefined;
	if (type === "number") return Number.isFinite(Number(text)) ? Number(text) : text;
	if (type === "lines") return text.split("\n");
	if (type !== "json") return text;
	try {
		return JSON.parse(text);
	} catch {
		return text;
	}
}

const written = (value, type) => (value == null ? "" : type === "lines" ? [value].flat().join("\n") : typeof value === "object" ? JSON.stringify(value, null, 1) : value);

// An input of text, "number", "json" or "lines"; *onvalue* gets the value, undefined for an emptied one.
export function input({ value, type = "text", onvalue, ...props }) {
	const isLong = type === "json" || type === "lines";
	const control = h(isLong ? "textarea" : "input", {
		type: isLong ? null : type === "number" ? "text" : type, rows: isLong ? 2 : null, inputmode: type === "number" ? "decimal" : null, autocapitalize: "off", ...props,
		oninput: (event) => onvalue(read(event.target.value.trim(), type)),
	});
	control.value = written(value, type);
	return control;
}

export const select = ({ value, options, onvalue, ...props }) => h("select", { ...props, onchange: (event) => onvalue(event.target.value) },
	options.map(([key, text]) => h("option", { value: key, selected: key === (value ?? "") }, text)));

// A secret: what is stored, and a way to replace or remove it. *edited* is the unsaved value, null for "remove";
// *strayed* the origin that the stored one would go to and may not; *key* the data-key of the control.
export function secret({ name, key, stored, strayed, environment, edited, example, long, onvalue, redraw }) {
	const act = (text, value, focus) => button(text, () => { onvalue(value); redraw(key); }, { class: "plain", "aria-label": `${text} ${name}`, "data-key": focus });
	if (edited === null) return h("div", { class: "stored" }, h("code", {}, "will be removed"), act("Undo", undefined, key));
	if (edited === undefined && stored && !strayed) {
		return h("div", { class: "stored" }, h("code", { title: "Fingerprint" }, stored.fingerprint), act("Replace", "", key), act("Remove", null),
			h("small", {}, "stored ", ago(stored.updated_at), ` by ${who({ author: stored.updated_by, role: stored.role })}`,
				stored.origins.length > 0 && ` for ${stored.origins.join(", ")}`));
	}
	const control = h(long ? "textarea" : "input", {
		type: long ? null : "password", rows: long ? 2 : null, class: long && "masked", autocomplete: "new-password",
		placeholder: environment ? `from ${environment.source}` : example, title: environment?.source, "data-key": key,
		oninput: (event) => onvalue(event.target.value.trim() || (stored ? "" : undefined)),
	});
	control.value = edited ?? "";
	if (strayed) return h("div", { class: "stored" }, control, h("small", {}, `Enter the key again: the stored one is not for ${strayed}`));
	return stored ? h("div", { class: "stored" }, control, act("Keep the stored one", undefined)) : control;
}

// The places of *problem*, the best first: of a missing field the field, and not the whole entry.
function placesOf({ where, message }) {
	const [, needed] = / needs (\w+)/.exec(message) ?? [];
	return needed ? [`${where} needs ${needed}`, where] : [where];
}

// Show *problems*, each beside its control, and return those that have none.
export function place(problems) {
	const slots = [...document.querySelectorAll("[data-where]")].map((element) => ({ element, places: element.dataset.where.split("|"), found: [] }));
	const left = problems.filter((problem) => {
		const places = placesOf(problem);
		const found = places.map((at) => slots.find((one) => one.places.includes(at))).find(Boolean)
			?? slots.find((one) => one.places.some((at) => at && (problem.where.startsWith(`${at}.`) || problem.where.startsWith(`${at}[`))));
		found?.found.push(problem);
		return !found;
	});
	for (const { element, found } of slots) {
		element.hidden = !found.length;
		element.replaceChildren(...found.map((problem) => h("span", { class: problem.severity }, tell(problem))));
		const control = document.getElementById(element.dataset.for);
		if (found.some((problem) => problem.severity === "error")) control?.setAttribute("aria-invalid", "true");
		else control?.removeAttribute("aria-invalid");
		if (found.length) element.closest("details")?.setAttribute("open", "");
	}
	return left;
}
