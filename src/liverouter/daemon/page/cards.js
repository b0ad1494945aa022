// One card of the form: a deployment, with what its provider takes.

import { button, h } from "./dom.js";
import { field, input, secret, select } from "./fields.js";
import { params } from "./params.js";
import { labelOf, MEMBERS } from "./words.js";

const HERE = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/; // every key may be sent to this machine
const OF_FALLBACK = [ // member, placeholder, help
	["temperature", "as every call"], ["max_tokens", "as every call"], ["order", "by its place", "Equal orders share the calls"], ["weight", "1", "Its share of them"],
];
const OF_PRIMARY = [["weight", "1", "Its share of the calls among equal orders"]];
const TIMES = [["timeout", "as the others"], ["first_token_timeout", "no limit", "Then the next one is asked"]];

// Whether a card before *card* has the same order, so that they share the calls.
function isEqual(card) {
	const order = (one) => (one.index ? Number(one.get("order") ?? one.index + 1) : 1);
	return card.draft.cards(card.name).slice(0, card.index).some((one) => order(one) === order(card));
}

export const otherwise = (environment) => environment && `${environment.source}, unless you set it here`;

// Whether field *f* is shown at once, not under "More": the first of its group; without a group, secrets and defaults.
function isMain(spec, f) {
	const group = spec.needs.find((names) => names.includes(f.name));
	return group ? group[0] === f.name : f.kind === "secret" || f.kind === "json" || Boolean(f.default);
}

// Makes the cards of *draft*. *edited* is called after every edit; *redraw* after one that changes what there is to edit,
// with the data-key of what gets the focus.
export class Cards {
	constructor({ draft, catalog, edited, redraw }) {
		Object.assign(this, { draft, catalog, edited, redraw, keys: new Map() });
		this.specs = new Map(catalog.providers.map((spec) => [spec.name, { ...spec, fields: spec.fields.map((f) => ({ ...f, own: spec.own_fields.includes(f.name) })) }]));
	}

	// The provider of a new deployment: an unused one whose key is there already; undefined, to be chosen, without one.
	nextProvider() {
		const used = this.draft.allCards.map((card) => card.provider), { secrets, environment } = this.draft.base;
		const hasKey = (spec) => spec.fields.some(({ kind, name }) => kind === "secret" && (secrets[name] ?? environment[name]));
		return this.catalog.providers.find((spec) => !used.includes(spec.name) && hasKey(spec))?.name;
	}

	draw(card) {
		const { index, model: { fallbacks } } = card, title = index ? `Fallback ${index}` : "Primary", spec = this.specs.get(card.provider);
		const fields = (spec?.fields ?? []).map((f) => [isMain(spec, f), f.kind === "secret" ? this.secretField(card, f) : this.plainField(card, f)]);
		const of = (main) => fields.filter(([kind]) => kind === main).map(([, element]) => element);
		const members = [...(index ? OF_FALLBACK : OF_PRIMARY), ...TIMES].map((member) => this.memberField(card, ...member));
		const own = index ? params({ card, specs: this.catalog.params, takes: spec?.params ?? [], edited: this.edited, redraw: this.redraw }) : [];
		const icon = (label, sign, act, disabled) =>
			button(sign, act, { class: "icon", title: label, "aria-label": `${label}: fallback ${index}`, disabled, "data-key": `${card.key}-${label}` });
		const mover = (by, label, sign, disabled) => icon(label, sign, () => { card.move(by); this.redraw(`${card.name}/${index + by}-${label}`); }, disabled);
		const remove = () => { fallbacks.splice(index - 1, 1); this.redraw(index > 1 ? `${card.name}/${index - 1}-Remove` : `${card.name}/add`); };
		return h("li", { class: isEqual(card) ? "card equal" : "card", "data-card": index, "aria-label": title },
			h("header", {}, h("span", { class: "place", "aria-hidden": "true" }, index + 1), h("h3", {}, title),
				index > 0 && [mover(-1, "Move up", "↑", index === 1), mover(1, "Move down", "↓", index === fallbacks.length), icon("Remove", "✕", remove)]),
			h("div", { class: "verdict", role: "status" }),
			h("div", { class: "grid" }, this.providerField(card), this.modelField(card), of(true)),
			h("details", { "data-more": card.key }, h("summary", {}, "More"), h("div", { class: "grid" }, of(false), members),
				own.length > 0 && [h("h4", {}, "Parameters, in place of those of every call"), h("div", { class: "grid" }, own)]));
	}

	providerField(card) {
		const value = card.provider, options = this.catalog.providers.map((spec) => [spec.name, spec.label]);
		if (!this.specs.has(value)) options.unshift([value ?? "", value ? `${value} (unknown)` : "Choose a provider"]);
		return field("Provider", select({
			value, options, "data-key": `${card.key}-provider`, onvalue: (provider) => { card.setProvider(provider); this.redraw(`${card.key}-model`); },
		}), { where: [...card.at("provider"), ...card.at("")] });
	}

	modelField(card) {
		const list = `models-${card.key}`, value = card.entry ? card.entry.model : this.draft.row("llm_model");
		const slot = field("Model", input({
			value, list, "data-key": `${card.key}-model`, onvalue: (model) => { card.set("model", model ?? (card.entry ? "" : undefined)); this.edited(); },
		}), { where: card.at("model") });
		slot.append(h("datalist", { id: list, "data-provider": card.provider }));
		return slot;
	}

	// A field that is no secret; *spec* is a ProviderField.
	plainField(card, spec) {
		const environment = this.draft.base.environment[spec.name], isOwn = card.isOwn(spec);
		const shared = card.owns || isOwn ? undefined : this.draft.rows[spec.name];
		return field(spec.label, input({
			value: card.field(spec), type: spec.kind, "data-key": `${card.key}-${spec.name}`,
			placeholder: shared ?? (isOwn ? null : environment?.value) ?? (spec.default || spec.example),
			onvalue: (value) => { card.setField(spec, value); this.askAgain(); this.edited(); },
		}), { help: shared ? `${this.asElsewhere(card)}, unless you set it here` : isOwn ? "" : otherwise(environment), where: this.places(card, spec) });
	}

	// Where the provider's shared fields are edited, for a card that does not own them.
	asElsewhere(card) {
		return card.owner.name === card.name ? "As above" : `As for ${card.owner.name}`;
	}

	// Each `where` that a Problem with this card's field *spec* may have.
	places(card, spec) {
		const own = card.entry ? [...card.at(spec.name), ...(spec.alias ? card.at(spec.alias) : []), ...card.at("").map((at) => `${at} needs ${spec.name}`)] : [];
		return card.owns ? [...own, `settings.${spec.name}`, `environment ${spec.name.toUpperCase()}`] : own;
	}

	secretField(card, spec) {
		const { draft } = this, { secrets, environment } = draft.base, name = card.secret(spec), key = `${card.key}-${spec.name}`;
		const strayed = this.strayed(card, name), slot = field(spec.label, secret({
			name, key, stored: secrets[name], strayed, environment: environment[name], edited: draft.secrets[name], example: spec.example,
			long: spec.name === "vertex_ai_credentials", redraw: this.redraw,
			onvalue: (value) => {
				if (value === undefined) delete draft.secrets[name];
				else draft.secrets[name] = value;
				this.edited();
			},
		}), { where: [...this.places(card, spec), `secrets.${name}`] });
		this.keys.set(key, { card, spec, strayed, slot });
		if (card.owns) return slot;
		// A further card of a provider: the same key, another that is stored, or one of its own.
		const names = [...new Set([spec.name, name, ...Object.keys(secrets).filter((one) => one.startsWith(spec.name))])];
		slot.firstChild.after(select({
			value: name, options: [...names.map((one) => [one, one === spec.name ? this.asElsewhere(card) : one]), ["", "Another key…"]],
			"aria-label": `Which ${spec.label}: ${card.index ? `fallback ${card.index}` : "primary"}`, "data-key": `${key}-choice`,
			onvalue: (value) => { card.useSecret(spec, value || draft.freeSecret(spec.name)); this.redraw(key); },
		}));
		return slot;
	}

	// The origin that the stored secret *name* would go to though it was not stored for it; undefined where it may go there.
	strayed(card, name) {
		const { draft } = this, spec = this.specs.get(card.provider), base = spec.fields.find((f) => f.kind === "url");
		const text = (base && (card.field(base) ?? draft.rows[base.name])) ?? "", stored = draft.base.secrets[name];
		if (!stored || !URL.canParse(text)) return undefined;
		const url = new URL(text);
		const own = url.protocol === "https:" && new RegExp(spec.own_hosts).test(url.host);
		return own || HERE.test(url.hostname) || stored.origins.includes(url.origin) ? undefined : url.origin;
	}

	// After an address was edited: ask for the keys again that may not be sent there, and only for those.
	askAgain() {
		for (const { card, spec, strayed, slot } of [...this.keys.values()]) {
			if (this.strayed(card, card.secret(spec)) !== strayed) slot.replaceWith(this.secretField(card, spec));
		}
	}

	memberField(card, name, placeholder, help) {
		const environment = card.entry ? undefined : this.draft.base.environment[`llm_${name}`];
		return field(MEMBERS[name], input({
			value: card.get(name), type: "number", placeholder: environment?.value ?? placeholder, "data-key": `${card.key}-${name}`,
			onvalue: (value) => { card.set(name, value); name === "order" ? this.redraw() : this.edited(); },
		}), { help: otherwise(environment) ?? help, where: card.at(name) });
	}

	// What holds for all of a model's calls, and what its fallbacks take over: of the primary's *card*.
	common(card) {
		const takes = [...new Set(this.draft.cards(card.name).flatMap((one) => this.specs.get(one.provider)?.params ?? []))];
		const fields = [["temperature", "not sent"], ["max_tokens", "not sent"]].map((member) => this.memberField(card, ...member));
		return [...fields, ...params({ card, specs: this.catalog.params, takes, edited: this.edited, redraw: this.redraw })];
	}

	// A row that belongs to no model.
	row({ name, kind, default: standard, variable }, help) {
		const { draft } = this, environment = draft.base.environment[name], otherwiseValue = environment?.value ?? standard;
		const props = { help: otherwise(environment) ?? help, where: [`settings.${name}`, `environment ${variable}`], wide: kind === "boolean" };
		if (kind !== "boolean") {
			return field(labelOf(name), input({
				value: draft.rows[name], type: kind === "text" ? "text" : "number", placeholder: otherwiseValue ?? "off",
				"data-key": name, onvalue: (value) => { draft.setRow(name, value); this.edited(); },
			}), props);
		}
		return field(labelOf(name), h("input", {
			type: "checkbox", role: "switch", checked: draft.rows[name] ?? otherwiseValue, "data-key": name,
			onchange: ({ target: { checked } }) => { draft.setRow(name, checked === otherwiseValue ? undefined : checked); this.redraw(name); },
		}), props);
	}

	// The URL that gets alerts: who knows it may write there, so it is stored as a secret.
	webhook() {
		const { draft } = this, name = "llm_alert_webhook", row = draft.rows[name];
		return field(labelOf(name), secret({
			name, key: name, stored: draft.base.secrets[name], edited: draft.secrets[name], environment: draft.base.environment[name], example: row ? `in use: ${row}` : "https://…",
			redraw: this.redraw,
			onvalue: (value) => {
				if (value === undefined) delete draft.secrets[name];
				else draft.secrets[name] = value;
				this.edited();
			},
		}), { help: "A post when an error appears or goes; the URL is sealed like a key", where: [`settings.${name}`, `secrets.${name}`, "environment LLM_ALERT_WEBHOOK"] });
	}
}
