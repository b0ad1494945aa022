// The form: a tab for each model, what holds for all of them, and the ways to add, rename, copy and remove one.

import { $, ask, button, h, show } from "./dom.js";
import { Cards, otherwise } from "./cards.js";
import { DEFAULT } from "./draft.js";
import { field, select, slot } from "./fields.js";
import { ROUTING, WATCHING } from "./words.js";

const NAME = "[a-z][a-z0-9_\\-]{0,31}";

// Draws *draft*. *catalog* is the answer of GET /api/providers; *edited* is called after every edit.
export class Models {
	constructor({ draft, catalog, edited }) {
		Object.assign(this, { draft, catalog, edited, name: DEFAULT, suggestions: {}, health: Object.create(null) });
		this.cards = new Cards({ draft, catalog, edited, redraw: (focus) => this.redraw(focus) });
		this.settings = new Map(catalog.settings.map((setting) => [setting.name, setting]));
		$("add-model").addEventListener("click", () => this.add());
		$("tabs").addEventListener("keydown", (event) => {
			const { names } = draft, by = { ArrowRight: 1, ArrowLeft: -1, Home: -names.length, End: names.length }[event.key];
			if (!by) return;
			event.preventDefault();
			const at = names.indexOf(this.name) + by;
			this.select(names[Math.abs(by) > 1 ? Math.max(0, Math.min(at, names.length - 1)) : (at + names.length) % names.length]);
			$(`tab-${this.name}`).focus();
		});
	}

	// Draw everything; focus the control whose data-key is *focus*, else the one that has the focus, its selection kept.
	draw(focus) {
		const { draft } = this, { dataset: { key } = {}, value, selectionStart, selectionEnd } = document.activeElement ?? {};
		if (!draft.models.has(this.name)) this.name = DEFAULT;
		this.cards.keys.clear();
		const open = [...document.querySelectorAll("#models details[open]")].map((details) => details.dataset.more);
		$("models").replaceChildren(...draft.names.map((name) => this.panel(name)));
		open.forEach((card) => document.querySelector(`[data-more="${card}"]`)?.setAttribute("open", ""));
		$("routing").replaceChildren(...Object.entries(ROUTING).map(([name, [, help]]) => this.cards.row(this.settings.get(name), help)));
		$("watching").replaceChildren(this.cards.row(this.settings.get("llm_probe_interval_h"), WATCHING.llm_probe_interval_h[1]), this.cards.webhook());
		this.drawTabs();
		this.suggest();
		const at = focus ?? key, target = at && document.querySelector(`[data-key="${at}"]`);
		(target?.disabled ? target.parentElement.querySelector("button:enabled") : target)?.focus();
		if (at !== key || selectionStart == null || !target) return;
		if (value && target.value && +value === +target.value) target.value = value; // "0." is typed on to "0.5"
		target.setSelectionRange?.(selectionStart, selectionEnd);
	}

	redraw(focus) {
		this.draw(focus);
		this.edited();
	}

	// One tab per model, none while there is the default alone: whether it serves, and how many fields to mend it has.
	drawTabs() {
		const { names } = this.draft, several = names.length > 1;
		$("tabs").hidden = !several;
		const focused = $("tabs").contains(document.activeElement);
		show($("tabs"), ...(several ? names : []).map((name) => {
			const faults = this.faultsOf(name), state = this.health[name];
			return h("button", {
				type: "button", onclick: () => this.select(name), id: `tab-${name}`, role: "tab", class: state, "aria-selected": String(name === this.name), "aria-controls": `model-${name}`,
				tabindex: name === this.name ? 0 : -1, "aria-label": [name, { failing: "not served", failover: "served by another deployment" }[state], faults && `${faults} to mend`].filter(Boolean).join(", "),
			}, state && h("span", { class: "dot" }), name, faults > 0 && h("b", { class: "flag" }, faults));
		}));
		if (focused) $(`tab-${this.name}`)?.focus();
	}

	faultsOf(name) {
		return document.querySelectorAll(`[data-name="${name}"] [aria-invalid]`).length;
	}

	select(name) {
		this.name = name;
		for (const panel of $("models").children) panel.hidden = panel.dataset.name !== name;
		this.drawTabs();
	}

	// Show the first model that has a field to mend, unless the one that is shown has, and focus that field.
	showFault() {
		const bad = this.draft.names.find((name) => this.faultsOf(name));
		if (bad && !this.faultsOf(this.name)) this.select(bad);
		document.querySelector("#config [data-name]:not([hidden]) [aria-invalid], #config .group [aria-invalid]")?.focus();
	}

	panel(name) {
		const { draft } = this, several = draft.names.length > 1, [primary, ...fallbacks] = draft.cards(name), isNamed = name !== DEFAULT;
		const list = isNamed ? `settings.llm:${name}.fallbacks` : "settings.llm_fallback_config";
		const act = (text, work) => button(text, work, { class: "plain", "aria-label": `${text} ${name}` });
		const add = () => {
			draft.models.get(name).fallbacks.push({ provider: this.cards.nextProvider(), model: "" });
			this.redraw(`${name}/${fallbacks.length + 1}-provider`);
		};
		const hasOthers = !isNamed && !fallbacks.length && !("llm_fallback_config" in draft.base.settings);
		return h("section", { id: `model-${name}`, class: "model", role: several && "tabpanel", "aria-labelledby": several && `tab-${name}`, "data-name": name, hidden: name !== this.name },
			isNamed && h("header", {}, h("code", {}, `get_chat_model("${name}")`), h("span", { class: "actions" }, act("Rename", () => this.rename(name)), act("Copy", () => this.add(name)), act("Remove", () => this.remove(name)))),
			h("ol", { class: "cards", "aria-label": "Deployments in the order they are tried" }, [primary, ...fallbacks].map((card) => this.cards.draw(card))),
			slot([list]),
			hasOthers && h("p", { class: "help" }, otherwise(draft.base.environment.llm_fallback_config)),
			button("Add a fallback", add, { class: "add", "data-key": `${name}/add` }),
			h("section", { class: "group" }, h("h3", {}, "Every call"), h("div", { class: "grid common" }, this.cards.common(primary))));
	}

	suggest(suggestions = this.suggestions) {
		this.suggestions = suggestions;
		document.querySelectorAll("datalist").forEach((list) => list.replaceChildren(...(suggestions[list.dataset.provider] ?? []).map((value) => h("option", { value }))));
	}

	// Ask for a name that no model has; resolve with it, null for none. *more* are further fields of the dialog.
	async askName(title, verb, value, more = []) {
		const taken = this.draft.names, control = h("input", { value, required: true, pattern: NAME, maxlength: 32, autocomplete: "off", autocapitalize: "off", title: "a to z, then digits, _ and - as well" });
		control.addEventListener("input", () => control.setCustomValidity(taken.includes(control.value) ? "There is a model of that name" : ""));
		control.dispatchEvent(new Event("input"));
		const chosen = ask(title, [field("Name", control, { help: "As applications ask for it: get_chat_model(\"fast\")" }), ...more], ["Cancel", ""], [verb, "go", "primary"]);
		control.focus();
		control.select();
		return (await chosen) === "go" ? control.value : null;
	}

	async add(from = "") {
		const { draft } = this, source = select({ value: from, options: [["", "Nothing"], ...draft.names.map((name) => [name, name])], onvalue: (value) => { from = value; } });
		const name = await this.askName("Add a model", "Add", "", [field("Copy from", source)]);
		if (!name) return;
		const spec = this.cards.specs.get(from && draft.cards(from)[0].provider);
		draft.add(name, from, this.cards.nextProvider(), spec?.own_fields ?? []);
		this.name = name;
		this.redraw(`${name}/0-${from ? "model" : "provider"}`);
	}

	async rename(name) {
		const to = await this.askName(`Rename ${name}`, "Rename", "");
		if (!to) return;
		this.draft.rename(name, to);
		this.name = to;
		this.redraw();
	}

	remove(name) {
		this.draft.models.delete(name);
		this.name = DEFAULT;
		this.redraw("add-model");
	}
}
