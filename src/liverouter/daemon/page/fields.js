// Labelled controls, and Problems shown beside the control that they are about.

import { ago, button, h, tell, who } from "./dom.js";

let serial = 0;

// A control with its label, help, and a slot for the Problems whose `where` is one of *where*.
export function field(label, control, { help, where = [], wide } = {}) {
	const target = control.querySelector(":is(input, textarea)") ?? control, id = (target.id ||= `f${++serial}`);
	target.setAttribute("aria-describedby", `${id}-help ${id}-fault`);
	return h("div", { class: wide ? "field wide" : "field" }, h("label", { for: id }, label), control,
		help && h("p", { class: "help", id: `${id}-help` }, help),
		h("p", { class: "fault", id: `${id}-fault`, "data-where": where.join("|"), "data-for": id, hidden: true }));
}

// A text, number or JSON input; *onvalue* gets the value, undefined for an emptied one. What is no number, or no JSON, is
// given as text, so that the check says what is wrong with it: a browser's own number input gives an empty value for "0,5".
export function input({ value, type = "text", onvalue, ...props }) {
	const read = (text) => (text === "" ? undefined : type === "number" && Number.isFinite(Number(text)) ? Number(text) : type === "json" ? parsed(text) : text);
	return h("input", {
		value: (type === "json" && value && typeof value === "object" ? JSON.stringify(value) : value) ?? "",
		type: type === "number" || type === "json" ? "text" : type, inputmode: type === "number" ? "decimal" : null, autocapitalize: "off", ...props,
		oninput: (event) => onvalue(read(event.target.value.trim())),
	});
}

function parsed(text) {
	try {
		return JSON.parse(text);
	} catch {
		return text;
	}
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
		placeholder: environment ? `from ${environment.source}` : example, "data-key": key,
		oninput: (event) => onvalue(event.target.value.trim() || (stored ? "" : undefined)),
	});
	control.value = edited ?? "";
	if (strayed) return h("div", { class: "stored" }, control, h("small", {}, `Enter the key again: the stored one is not for ${strayed}`));
	return stored ? h("div", { class: "stored" }, control, act("Keep the stored one", undefined)) : control;
}

export function place(problems) {
	const slots = [...document.querySelectorAll("[data-where]")].map((slot) => ({ slot, places: slot.dataset.where.split("|"), found: [] }));
	const left = problems.filter((problem) => {
		const slot = slots.find(({ places }) => places.includes(problem.where)) ??
			slots.find(({ places }) => places.some((at) => at && problem.where.startsWith(`${at}.`)));
		slot?.found.push(problem);
		return !slot;
	});
	for (const { slot, found } of slots) {
		slot.hidden = !found.length;
		slot.replaceChildren(...found.map((problem) => h("span", { class: problem.severity }, tell(problem))));
		const control = document.getElementById(slot.dataset.for);
		if (found.some((problem) => problem.severity === "error")) control.setAttribute("aria-invalid", "true");
		else control.removeAttribute("aria-invalid");
		if (found.length) slot.closest("details")?.setAttribute("open", "");
	}
	return left;
}
