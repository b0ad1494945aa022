// The form: one card per deployment, in the order they are tried, and what holds for every call.

import { $, button, h, say, sentence } from "./dom.js";
import { field, input, secret, select } from "./fields.js";

const COMMON = { llm_temperature: "Temperature", llm_max_tokens: "Longest answer (tokens)" };
const ROUTING = {
	litellm_enable: "Calls go through LiteLLM",
	litellm_num_retries: "Retries",
	litellm_allowed_fails: "Allowed failures",
	litellm_cooldown_time: "Cooldown (seconds)",
	litellm_timeout: "Timeout (seconds)",
	litellm_model_name: "Logical model name",
	litellm_check_streams: "Check that streams are whole",
};
const HERE = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/; // every key may be sent to this machine
const MEMBERS = [ // of a fallback's entry: name, label, placeholder, help
	["temperature", "Temperature", "as every call"], ["max_tokens", "Longest answer (tokens)", "as every call"],
	["order", "Order", "by its place", "Equal orders share the calls"], ["weight", "Weight", "1", "Its share of them"],
];

// The cards of *draft*. *catalog* is the answer of GET /api/providers; *edited* is called after every edit.
export class Cards {
	constructor({ draft, catalog, edited }) {
		Object.assign(this, { draft, catalog, edited, models: {}, keys: new Map() });
		this.specs = new Map(catalog.providers.map((spec) => [spec.name, spec]));
		this.settings = new Map(catalog.settings.map((setting) => [setting.name, setting]));
		$("add").addEventListener("click", () => {
			draft.fallbacks.push({ provider: this.nextProvider(), model: "" });
			this.redraw(`${draft.size - 1}-provider`);
		});
	}

	// The provider of a new fallback: an unused one, with a stored key if there is one.
	nextProvider() {
		const { draft, catalog: { providers } } = this, free = providers.filter((spec) => !draft.providers.includes(spec.name));
		return (free.find((spec) => spec.fields.some((f) => draft.base.secrets[f.name])) ?? free.find((spec) => spec.name === "openai") ?? free[0] ?? providers[0]).name;
	}

	// Draw everything; focus the control whose data-key is *focus*, else the one that has the focus, its selection kept.
	draw(focus) {
		const { draft } = this, { dataset: { key } = {}, value, selectionStart, selectionEnd } = document.activeElement ?? {};
		this.keys.clear();
		const open = [...document.querySelectorAll("#cards details[open]")].map((details) => details.dataset.more);
		$("cards").replaceChildren(...Array.from({ length: draft.size }, (_, card) => this.card(card)));
		open.forEach((card) => document.querySelector(`[data-more="${card}"]`)?.setAttribute("open", ""));
		for (const [id, labels] of [["common", COMMON], ["routing", ROUTING]]) {
			$(id).replaceChildren(...Object.entries(labels).map(([name, label]) => this.row(this.settings.get(name), label)));
		}
		say($("elsewhere"), draft.size > 1 || "llm_fallback_config" in draft.base.settings ? "" : otherwise(draft.base.environment.llm_fallback_config) ?? "");
		this.drawModels();
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

	drawModels(models = this.models) {
		this.models = models;
		document.querySelectorAll("datalist").forEach((list) =>
			list.replaceChildren(...(models[list.dataset.provider] ?? []).map((value) => h("option", { value }))));
	}

	card(card) {
		const { draft } = this;
		const title = card ? `Fallback ${card}` : "Primary";
		const spec = this.specs.get(draft.provider(card));
		const fields = (spec?.fields ?? []).map((f) => [isMain(spec, f), f.kind === "secret" ? this.secretField(card, f) : this.plainField(card, f)]);
		const of = (main) => fields.filter(([kind]) => kind === main).map(([, element]) => element);
		const more = [...of(false), ...(card ? MEMBERS.map((member) => this.memberField(card, ...member)) : [])];
		const icon = (label, sign, act, disabled) =>
			button(sign, act, { class: "icon", title: label, "aria-label": `${label}: fallback ${card}`, disabled, "data-key": `${card}-${label}` });
		const mover = (by, label, sign, disabled) => icon(label, sign, () => { draft.move(card, by); this.redraw(`${card + by}-${label}`); }, disabled);
		return h("li", { class: "card", "data-card": card, "aria-label": title },
			h("header", {}, h("span", { class: "place", "aria-hidden": "true" }, card + 1), h("h3", {}, title),
				card > 0 && [mover(-1, "Move up", "↑", card === 1), mover(1, "Move down", "↓", card === draft.size - 1),
					icon("Remove", "✕", () => { draft.fallbacks.splice(card - 1, 1); this.redraw(card > 1 ? `${card - 1}-Remove` : "add"); })]),
			h("div", { class: "verdict", role: "status" }),
			h("div", { class: "grid" }, this.providerField(card), this.modelField(card), of(true)),
			more.length > 0 && h("details", { "data-more": card }, h("summary", {}, "More"), h("div", { class: "grid" }, more)));
	}

	// The `where` of a Problem with the row *row* of the primary, or with *member* of a fallback's entry.
	at(card, row, member) {
		return card ? `settings.llm_fallback_config[${card - 1}]${member && `.${member}`}` : `settings.${row}`;
	}

	providerField(card) {
		const { draft } = this, value = draft.provider(card);
		const options = this.catalog.providers.map((spec) => [spec.name, spec.label]);
		if (!this.specs.has(value)) options.unshift([value ?? "", value ? `${value} (unknown)` : "Choose a provider"]);
		return field("Provider", select({
			value, options, "data-key": `${card}-provider`, onvalue: (provider) => { draft.setProvider(card, provider); this.redraw(`${card}-model`); },
		}), { where: [this.at(card, "llm_provider", "provider"), this.at(card, "llm_provider", "")] });
	}

	modelField(card) {
		const { draft } = this, list = `models-${card}`;
		const slot = field("Model", input({
			value: draft.model(card), list, "data-key": `${card}-model`, onvalue: (value) => { draft.setModel(card, value); this.edited(); },
		}), { where: [this.at(card, "llm_model", "model")] });
		slot.append(h("datalist", { id: list, "data-provider": draft.provider(card) }));
		return slot;
	}

	// A field that is no secret; *spec* is a ProviderField.
	plainField(card, spec) {
		const { draft } = this, environment = draft.base.environment[spec.name];
		const shared = draft.owns(card, spec) || spec.kind === "json" ? undefined : draft.rows[spec.name];
		return field(spec.label, input({
			value: draft.field(card, spec), type: spec.kind, "data-key": `${card}-${spec.name}`,
			placeholder: shared ?? environment?.value ?? (spec.default || spec.example),
			onvalue: (value) => { draft.setField(card, spec, value); this.askAgain(); this.edited(); },
		}), { help: shared ? "As above, unless you set it here" : otherwise(environment), where: this.places(card, spec) });
	}

	// Each `where` that a Problem with this card's field *spec* may have.
	places(card, spec) {
		const own = card ? [this.at(card, "", spec.name), this.at(card, "", spec.alias)] : [];
		return this.draft.owns(card, spec) ? [...own, `settings.${spec.name}`, `environment ${spec.name.toUpperCase()}`] : own;
	}

	secretField(card, spec) {
		const { draft } = this, { secrets, environment } = draft.base, name = draft.secret(card, spec), key = `${card}-${spec.name}`;
		const strayed = this.strayed(card, name), slot = field(spec.label, secret({
			name, key, stored: secrets[name], strayed, environment: environment[name], edited: draft.secrets[name], example: spec.example,
			long: spec.name === "vertex_ai_credentials", redraw: (focus) => this.redraw(focus),
			onvalue: (value) => {
				if (value === undefined) delete draft.secrets[name];
				else draft.secrets[name] = value;
				this.edited();
			},
		}), { where: [...this.places(card, spec), `secrets.${name}`] });
		this.keys.set(key, { card, spec, strayed, slot });
		if (draft.owns(card)) return slot;
		// A further card of a provider: the same key, another that is stored, or one of its own.
		const names = [...new Set([spec.name, name, ...Object.keys(secrets).filter((one) => one.startsWith(spec.name))])];
		slot.firstChild.after(select({
			value: name, options: [...names.map((one) => [one, one === spec.name ? `As above: ${one}` : one]), ["", "Another key…"]],
			"aria-label": `Which ${spec.label}: fallback ${card}`, "data-key": `${key}-choice`,
			onvalue: (value) => { draft.useSecret(card, spec, value || draft.freeSecret(spec.name)); this.redraw(key); },
		}));
		return slot;
	}

	// The origin that the stored secret *name* would go to though it was not stored for it; undefined where it may go there.
	strayed(card, name) {
		const { draft } = this, spec = this.specs.get(draft.provider(card)), base = spec.fields.find((f) => f.kind === "url");
		const text = draft.field(card, base) ?? draft.rows[base.name] ?? "", stored = draft.base.secrets[name];
		if (!stored || !URL.canParse(text)) return undefined;
		const url = new URL(text);
		const own = url.protocol === "https:" && new RegExp(spec.own_hosts).test(url.host);
		return own || HERE.test(url.hostname) || stored.origins.includes(url.origin) ? undefined : url.origin;
	}

	// After an address was edited: ask for the keys again that may not be sent there, and only for those.
	askAgain() {
		for (const { card, spec, strayed, slot } of [...this.keys.values()]) {
			if (this.strayed(card, this.draft.secret(card, spec)) !== strayed) slot.replaceWith(this.secretField(card, spec));
		}
	}

	memberField(card, name, label, placeholder, help) {
		return field(label, input({
			value: this.draft.entry(card)[name], type: "number", placeholder, "data-key": `${card}-${name}`,
			onvalue: (value) => { this.draft.setMember(card, name, value); this.edited(); },
		}), { help, where: [this.at(card, "", name)] });
	}

	row({ name, kind, doc, variable, default: standard }, label) {
		const { draft } = this, environment = draft.base.environment[name], otherwiseValue = environment?.value ?? standard;
		const props = { help: otherwise(environment) ?? (name.startsWith("litellm") && sentence(doc.replace("false", "off"))), where: [`settings.${name}`, `environment ${variable}`], wide: kind === "boolean" };
		if (kind !== "boolean") {
			return field(label, input({
				value: draft.rows[name], type: kind === "text" ? "text" : "number", placeholder: otherwiseValue ?? "not sent",
				"data-key": name, onvalue: (value) => { draft.setRow(name, value); this.edited(); },
			}), props);
		}
		return field(label, h("input", {
			type: "checkbox", role: "switch", checked: draft.rows[name] ?? otherwiseValue, "data-key": name,
			onchange: ({ target: { checked } }) => { draft.setRow(name, checked === otherwiseValue ? undefined : checked); this.redraw(name); },
		}), props);
	}
}

const otherwise = (environment) => environment && `${environment.source}, unless you set it here`;

// Whether field *f* is shown at once, not under "More": the first of its group; without a group, secrets and defaults.
function isMain(spec, f) {
	const group = spec.needs.find((names) => names.includes(f.name));
	return group ? group[0] === f.name : f.kind === "secret" || f.kind === "json" || Boolean(f.default);
}
