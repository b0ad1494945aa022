// What the admin edits: a base revision and the difference to it. Touches neither the page nor the network.

const FALLBACKS = "llm_fallback_config";

const isObject = (value) => value && typeof value === "object" && !Array.isArray(value);
const entriesOf = (value) => (Array.isArray(value) ? value : [value]).filter(isObject);
const spelt = (value) => JSON.stringify(value, (_, part) => (isObject(part) ? Object.fromEntries(Object.entries(part).sort()) : part));
const same = (a, b) => spelt(a) === spelt(b); // the order of keys does not count

export class Draft {
	constructor(config) {
		this.load(config);
	}

	load(config) {
		const { [FALLBACKS]: fallbacks, ...rows } = structuredClone(config.settings);
		Object.assign(this, { base: config, rows, fallbacks: entriesOf(fallbacks), secrets: {} }); // secrets: null removes one
	}

	// Take *config* as the base; the unsaved edits stay, on top of it.
	rebase(config) {
		const { settings, secrets } = this.changes();
		this.load(config);
		this.secrets = secrets;
		for (const [key, value] of Object.entries(settings)) {
			if (key === FALLBACKS) this.fallbacks = value;
			else this.setRow(key, value ?? undefined);
		}
	}

	// The difference, as PUT /api/config takes it: null removes.
	changes() {
		const settings = {}, before = this.base.settings;
		for (const key of Object.keys({ ...before, ...this.rows })) {
			if (key !== FALLBACKS && !same(before[key], this.rows[key])) settings[key] = this.rows[key] ?? null;
		}
		if (!same(entriesOf(before[FALLBACKS]), this.fallbacks)) settings[FALLBACKS] = structuredClone(this.fallbacks);
		return { settings, secrets: { ...this.secrets } };
	}

	get changed() {
		const { settings, secrets } = this.changes();
		return [...Object.keys(settings), ...Object.keys(secrets)];
	}

	// Deployments: card 0 is the primary, card n the n-th fallback.

	get size() {
		return 1 + this.fallbacks.length;
	}

	get providers() {
		return Array.from({ length: this.size }, (_, card) => this.provider(card));
	}

	entry(card) {
		return this.fallbacks[card - 1];
	}

	// Take what was sent as stored, so that only what was edited since is a change.
	sent({ settings, secrets }) {
		this.base = { ...this.base, settings: { ...this.base.settings, ...settings } };
		for (const [name, value] of Object.entries(secrets)) if (this.secrets[name] === value) delete this.secrets[name];
	}

	// A row's value, else what the environment says.
	row(key) {
		return key in this.rows ? this.rows[key] : this.base.environment[key]?.value;
	}

	provider(card) {
		return card ? this.entry(card).provider : this.row("llm_provider");
	}

	model(card) {
		return card ? this.entry(card).model : this.row("llm_model");
	}

	setProvider(card, provider) {
		if (!card) {
			this.setRow("llm_provider", provider);
			this.setRow("llm_model", undefined);
			return;
		}
		const { order, weight, temperature, max_tokens } = this.entry(card); // its other members were the old provider's
		this.fallbacks[card - 1] = JSON.parse(JSON.stringify({ provider, model: "", order, weight, temperature, max_tokens }));
	}

	setModel(card, model) {
		if (card) this.setMember(card, "model", model ?? "");
		else this.setRow("llm_model", model);
	}

	setRow(key, value) {
		if (value === undefined) delete this.rows[key];
		else this.rows[key] = value;
	}

	setMember(card, name, value) {
		if (value === undefined) delete this.entry(card)[name];
		else this.entry(card)[name] = value;
	}

	// Swap with the neighbour *by* places away; an explicit order or weight stays with its place.
	move(card, by) {
		const list = this.fallbacks, a = this.entry(card), b = this.entry(card + by);
		[list[card - 1], list[card - 1 + by]] = [b, a];
		for (const name of ["order", "weight"]) {
			const mine = a[name];
			this.setMember(card + by, name, b[name]);
			this.setMember(card, name, mine);
		}
	}

	// A provider's fields: the first card of a provider edits its rows, a further one has members of its own; an object of
	// settings is no other card's.

	owns(card, field) {
		return field?.kind === "json" ? card === 0 : !this.providers.slice(0, card).includes(this.provider(card));
	}

	// The name, full or short, by which this card's entry sets *field*; undefined where it does not.
	member(card, field) {
		return card ? [field.name, field.alias].find((name) => this.entry(card)[name] != null) : undefined;
	}

	field(card, field) {
		const member = this.member(card, field);
		return member ? this.entry(card)[member] : this.owns(card, field) ? this.rows[field.name] : undefined;
	}

	setField(card, field, value) {
		const member = this.member(card, field);
		if (member || !this.owns(card, field)) this.setMember(card, member ?? (field.alias || field.name), value);
		else this.setRow(field.name, value);
	}

	secret(card, field) {
		return this.entry(card)?.[this.member(card, field)]?.secret ?? field.name;
	}

	useSecret(card, field, name) {
		this.setMember(card, this.member(card, field) ?? (field.alias || field.name), name === field.name ? undefined : { secret: name });
	}

	freeSecret(name) {
		let n = 2;
		while (`${name}_${n}` in { ...this.base.secrets, ...this.secrets }) n++;
		return `${name}_${n}`;
	}
}
