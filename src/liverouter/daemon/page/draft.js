// What the admin edits: a base revision and the difference to it. Touches neither the page nor the network.

export const DEFAULT = "default"; // the model whose primary the rows llm_provider, llm_model, … describe
const FALLBACKS = "llm_fallback_config", PREFIX = "llm:"; // llm:NAME is the row of a named model
const MODEL = /^llm:(?!default$)([\w-]+)$/; // SQL stores whatever begins so: what can be no name stays a row
const OF_PRIMARY = ["provider", "model", "temperature", "max_tokens", "params", "weight", "timeout", "first_token_timeout", "profile"];

const isObject = (value) => value && typeof value === "object" && !Array.isArray(value);
const entriesOf = (value) => (Array.isArray(value) ? value : [value]).filter(isObject);
const spelt = (value) => JSON.stringify(value, (_, part) => (isObject(part) ? Object.fromEntries(Object.entries(part).sort()) : part));
const same = (a, b) => spelt(a) === spelt(b); // the order of keys does not count
const without = (object, ...names) => Object.fromEntries(Object.entries(object).filter(([name, value]) => !names.includes(name) && value !== undefined));

// A row in the one form in which two of them are compared; of a model's that is no object nothing is edited yet.
function formOf(key, value) {
	if (key === FALLBACKS) return entriesOf(value);
	return key.startsWith(PREFIX) && value != null ? { ...(isObject(value) && value), fallbacks: entriesOf(value.fallbacks) } : value ?? undefined;
}

// *theirs* with what *mine* changed of *base*: member by member, where all are objects.
function merged(base, mine, theirs) {
	if (same(mine, base)) return theirs;
	if (![base, mine, theirs].every(isObject)) return mine;
	return without(Object.fromEntries(Object.keys({ ...theirs, ...mine }).map((name) => [name, merged(base[name], mine[name], theirs[name])])));
}

export class Draft {
	constructor(config) {
		this.load(config);
	}

	// Take *config* as the base, and *settings* as what is edited.
	load(config, settings = config.settings) {
		const { [FALLBACKS]: fallbacks, ...rows } = structuredClone(settings);
		Object.assign(this, { base: config, rows: {}, secrets: {} }); // secrets: null removes one
		this.models = new Map([[DEFAULT, { primary: null, fallbacks: entriesOf(fallbacks) }]]); // primary: null where rows describe it
		for (const [key, value] of Object.entries(rows)) {
			const [, name] = MODEL.exec(key) ?? [];
			if (!name) this.rows[key] = value;
			else if (value != null) this.models.set(name, { primary: isObject(value) ? without(value, "fallbacks") : {}, fallbacks: entriesOf(value?.fallbacks) });
		}
	}

	// Take *config* as the base; the unsaved edits stay, on top of it.
	rebase(config) {
		const { secrets, base } = this, mine = this.settings, settings = { ...config.settings };
		for (const key of Object.keys(this.changes().settings)) {
			const value = merged(...[base.settings, mine, settings].map((rows) => formOf(key, rows[key])));
			if (value === undefined) delete settings[key];
			else settings[key] = value;
		}
		this.load(config, settings);
		this.secrets = secrets;
	}

	// What is edited, as rows.
	get settings() {
		const rows = { ...this.rows, [FALLBACKS]: this.models.get(DEFAULT).fallbacks };
		for (const [name, { primary, fallbacks }] of this.models) if (primary) rows[PREFIX + name] = { ...primary, fallbacks: fallbacks.length ? fallbacks : null };
		return rows;
	}

	// The difference, as PUT /api/config takes it: null removes.
	changes() {
		const settings = {}, before = this.base.settings, now = this.settings;
		for (const key of Object.keys({ ...before, ...now })) {
			if (!same(formOf(key, before[key]), formOf(key, now[key]))) settings[key] = structuredClone(now[key] ?? null);
		}
		return { settings, secrets: { ...this.secrets } };
	}

	get changed() {
		const { settings, secrets } = this.changes();
		return [...Object.keys(settings), ...Object.keys(secrets)];
	}

	// Take what was sent as stored, so that only what was edited since is a change.
	sent({ settings, secrets }) {
		this.base = { ...this.base, settings: without(Object.fromEntries(Object.entries({ ...this.base.settings, ...settings }).map(([key, value]) => [key, value ?? undefined]))) };
		for (const [name, value] of Object.entries(secrets)) if (this.secrets[name] === value) delete this.secrets[name];
	}

	// A row's value, else what the environment says.
	row(key) {
		return key in this.rows ? this.rows[key] : this.base.environment[key]?.value;
	}

	setRow(key, value) {
		if (value === undefined) delete this.rows[key];
		else this.rows[key] = value;
	}

	// Models: the default, then the named ones by name; each has cards, one per deployment.

	get names() {
		return [DEFAULT, ...[...this.models.keys()].filter((name) => name !== DEFAULT).sort()];
	}

	cards(name) {
		return Array.from({ length: 1 + this.models.get(name).fallbacks.length }, (_, index) => new Card(this, name, index));
	}

	get allCards() {
		return this.names.flatMap((name) => this.cards(name));
	}

	// Add the model *name*, a copy of *from*; without that with *provider* alone. *owned* are rows that a copy has as members.
	add(name, from, provider, owned) {
		if (!from) return void this.models.set(name, { primary: { provider, model: "" }, fallbacks: [] });
		const { primary, fallbacks } = structuredClone(this.models.get(from));
		const rows = Object.fromEntries([...OF_PRIMARY.map((member) => [member, this.row(`llm_${member}`)]), ...owned.map((row) => [row, this.rows[row]])]);
		this.models.set(name, { primary: primary ?? without(structuredClone(rows)), fallbacks });
	}

	rename(name, to) {
		this.models.set(to, this.models.get(name));
		this.models.delete(name);
	}

	freeSecret(name) {
		let n = 2;
		while (`${name}_${n}` in { ...this.base.secrets, ...this.secrets }) n++;
		return `${name}_${n}`;
	}
}

// One deployment of the draft: of the model *name* the primary (0) or the n-th fallback.
export class Card {
	constructor(draft, name, index) {
		Object.assign(this, { draft, name, index });
	}

	get model() {
		return this.draft.models.get(this.name);
	}

	// The entry that describes it; null where rows do.
	get entry() {
		return this.index ? this.model.fallbacks[this.index - 1] : this.model.primary;
	}

	get key() {
		return `${this.name}/${this.index}`;
	}

	get provider() {
		return this.entry ? this.entry.provider : this.draft.row("llm_provider");
	}

	get(member) {
		return this.entry ? this.entry[member] : this.draft.rows[`llm_${member}`];
	}

	set(member, value) {
		if (!this.entry) this.draft.setRow(`llm_${member}`, value);
		else if (value === undefined) delete this.entry[member];
		else this.entry[member] = value;
	}

	// Each `where` that a Problem with *member* may have; of the entry itself for "".
	at(member) {
		if (!this.entry) return member ? [`settings.llm_${member}`, `environment LLM_${member.toUpperCase()}`] : [];
		const row = this.name === DEFAULT ? `settings.${FALLBACKS}` : `settings.${PREFIX}${this.name}`, list = this.name === DEFAULT ? row : `${row}.fallbacks`;
		const places = this.index ? [`${list}[${this.index - 1}]`, ...(this.model.fallbacks.length === 1 ? [list] : [])] : [row];
		return places.map((place) => (member ? `${place}.${member}` : place));
	}

	// Another provider: what was of the old one goes.
	setProvider(provider) {
		const { entry } = this;
		if (!entry) {
			this.set("provider", provider);
			this.set("model", undefined);
			return;
		}
		const kept = ["order", "weight", "temperature", "max_tokens", "timeout", "first_token_timeout"].map((member) => [member, entry[member]]);
		const fresh = without({ provider, model: "", ...Object.fromEntries(kept) });
		if (this.index) this.model.fallbacks[this.index - 1] = fresh;
		else this.model.primary = fresh;
	}

	// Swap with the neighbour *by* places away; an explicit order or weight stays with its place.
	move(by) {
		const { fallbacks } = this.model, other = new Card(this.draft, this.name, this.index + by), [a, b] = [this.entry, other.entry];
		[fallbacks[this.index - 1], fallbacks[other.index - 1]] = [b, a];
		for (const member of ["order", "weight"]) {
			const mine = a[member];
			other.set(member, b[member]);
			this.set(member, mine);
		}
	}

	// A provider's fields: the first card of a provider edits its rows, a further one has members of its own.

	get owner() {
		return this.draft.allCards.find((card) => card.provider === this.provider);
	}

	get owns() {
		return this.owner.key === this.key;
	}

	// The name, full or short, by which this card's entry sets *field*; undefined where it does not.
	member(field) {
		return this.entry ? [field.name, field.alias].find((name) => this.entry[name] != null) : undefined;
	}

	field(field) {
		const member = this.member(field);
		return member ? this.entry[member] : this.owns && !this.isOwn(field) ? this.draft.rows[field.name] : undefined;
	}

	setField(field, value) {
		const member = this.member(field);
		if (member || !this.owns || this.isOwn(field)) this.set(member ?? (field.alias || field.name), value);
		else this.draft.setRow(field.name, value);
	}

	// Whether each entry says *field* itself: an object of settings, and of a named model what names a deployment.
	isOwn(field) {
		return Boolean(this.entry) && (field.kind === "json" || (this.name !== DEFAULT && field.own));
	}

	secret(field) {
		return this.entry?.[this.member(field)]?.secret ?? field.name;
	}

	useSecret(field, name) {
		this.set(this.member(field) ?? (field.alias || field.name), name === field.name ? undefined : { secret: name });
	}
}
