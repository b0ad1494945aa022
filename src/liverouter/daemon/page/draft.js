// What the admin edits: a base revision and the difference to it. Knows nothing of the page.

const FALLBACKS = "llm_fallback_config";

/** One spelling per value, whatever the order of its keys. */
function canonical(value) {
  if (Array.isArray(value)) return value.map(canonical);
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.keys(value).sort().map((key) => [key, canonical(value[key])]));
  }
  return value;
}

export const same = (a, b) => JSON.stringify(canonical(a)) === JSON.stringify(canonical(b));

const entriesOf = (value) => (Array.isArray(value) ? value : value ? [value] : []).filter((e) => e && typeof e === "object");

export class Draft {
  /** *config* as GET /api/config gives it. */
  constructor(config) {
    this.load(config);
  }

  /** Start over from *config*; unsaved edits are gone. */
  load(config) {
    this.base = config;
    const { [FALLBACKS]: fallbacks, ...rows } = structuredClone(config.settings);
    this.rows = rows;
    this.fallbacks = entriesOf(fallbacks);
    this.secrets = {}; // name -> new value, null to remove it
  }

  /** Put the unsaved edits on top of *config*, a newer base. */
  rebase(config) {
    const mine = this.changes();
    this.load(config);
    for (const [key, value] of Object.entries(mine.settings)) {
      if (key === FALLBACKS) this.fallbacks = entriesOf(value);
      else if (value === null) delete this.rows[key];
      else this.rows[key] = value;
    }
    this.secrets = mine.secrets;
  }

  /** What differs from the base, as PUT /api/config takes it: null removes. */
  changes() {
    const settings = {};
    const before = this.base.settings;
    for (const key of new Set([...Object.keys(before), ...Object.keys(this.rows)])) {
      if (key !== FALLBACKS && !same(before[key], this.rows[key])) settings[key] = this.rows[key] ?? null;
    }
    if (!same(entriesOf(before[FALLBACKS]), this.fallbacks)) settings[FALLBACKS] = structuredClone(this.fallbacks);
    return { settings, secrets: { ...this.secrets } };
  }

  get changed() {
    const { settings, secrets } = this.changes();
    return [...Object.keys(settings), ...Object.keys(secrets)];
  }

  // -- deployments: card 0 is the primary, card n the n-th fallback ----------------------------------------------

  get size() {
    return 1 + this.fallbacks.length;
  }

  /** The effective value of a row: the draft's, else what the environment says. */
  row(key) {
    return this.rows[key] ?? this.base.environment[key]?.value;
  }

  provider(card) {
    return card ? this.fallbacks[card - 1].provider : this.row("llm_provider");
  }

  model(card) {
    return card ? this.fallbacks[card - 1].model : this.row("llm_model");
  }

  setProvider(card, provider) {
    if (!card) {
      this.setRow("llm_provider", provider);
      return;
    }
    const { model, order, weight, temperature, max_tokens } = this.fallbacks[card - 1];
    const kept = { provider, model, order, weight, temperature, max_tokens }; // the other members were the old provider's
    this.fallbacks[card - 1] = Object.fromEntries(Object.entries(kept).filter(([, value]) => value !== undefined));
  }

  setModel(card, model) {
    if (card) this.setMember(card, "model", model);
    else this.setRow("llm_model", model);
  }

  setRow(key, value) {
    if (value === undefined) delete this.rows[key];
    else this.rows[key] = value;
  }

  setMember(card, name, value) {
    const entry = this.fallbacks[card - 1];
    if (value === undefined) delete entry[name];
    else entry[name] = value;
  }

  add(provider) {
    this.fallbacks.push({ provider, model: "" });
  }

  remove(card) {
    this.fallbacks.splice(card - 1, 1);
  }

  /** Swap a fallback with its neighbour; an explicit order or weight stays with the place, not with the deployment. */
  move(card, by) {
    const list = this.fallbacks, [a, b] = [card - 1, card - 1 + by];
    [list[a], list[b]] = [list[b], list[a]];
    for (const name of ["order", "weight"]) {
      const [x, y] = [list[a][name], list[b][name]];
      this.setMember(a + 1, name, y);
      this.setMember(b + 1, name, x);
    }
  }

  // -- a provider's fields: the first card of a provider edits its rows, a further one has members of its own ------

  owns(card) {
    const provider = this.provider(card);
    for (let other = 0; other < card; other++) if (this.provider(other) === provider) return false;
    return true;
  }

  /** The member that overrides *field* on this card, undefined where there is none. */
  member(card, field) {
    return card ? [field.name, field.alias].find((name) => name && this.fallbacks[card - 1][name] != null) : undefined;
  }

  field(card, field) {
    const member = this.member(card, field);
    if (member) return this.fallbacks[card - 1][member];
    return this.owns(card) ? this.rows[field.name] : undefined;
  }

  setField(card, field, value) {
    const member = this.member(card, field);
    if (member || !this.owns(card)) this.setMember(card, member ?? (field.alias || field.name), value);
    else this.setRow(field.name, value);
  }

  /** The name of the secret that this card's *field* uses. */
  secret(card, field) {
    const member = this.member(card, field);
    return (member && this.fallbacks[card - 1][member].secret) || field.name;
  }

  /** Let this card's *field* use the secret called *name*. */
  useSecret(card, field, name) {
    const member = this.member(card, field);
    this.setMember(card, member ?? (field.alias || field.name), name === field.name ? undefined : { secret: name });
  }

  setSecret(name, value) {
    if (value === undefined) delete this.secrets[name];
    else this.secrets[name] = value;
  }

  /** A name for another secret like *name* that is not taken. */
  freeSecret(name) {
    const taken = new Set([...Object.keys(this.base.secrets), ...Object.keys(this.secrets)]);
    let n = 2;
    while (taken.has(`${name}_${n}`)) n++;
    return `${name}_${n}`;
  }
}
