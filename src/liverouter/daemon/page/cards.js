// The form's contents: one card per deployment in the order in which they are tried, and what holds for every call.

import { $, button, h } from "./dom.js";
import { field, input, secret, select, toggle } from "./fields.js";

const LONG_SECRETS = ["vertex_ai_credentials"]; // a whole JSON file
const COMMON = { llm_temperature: "Temperature", llm_max_tokens: "Longest answer (tokens)" };
const ROUTING = {
  litellm_enable: "LiteLLM: failover, retries, cooldowns",
  litellm_num_retries: "Tries on one deployment",
  litellm_allowed_fails: "Failures before it cools",
  litellm_cooldown_time: "Cooldown (seconds)",
  litellm_timeout: "Timeout of one attempt (seconds)",
  litellm_model_name: "Logical model name",
  litellm_check_streams: "Treat streams without an end as cut off",
};

/** Renders the form. *edited* is called after every keystroke; *catalog* is what GET /api/providers says. */
export class Cards {
  constructor({ draft, catalog, edited }) {
    Object.assign(this, { draft, catalog, edited });
    this.models = {};
    this.specs = new Map(catalog.providers.map((spec) => [spec.name, spec]));
    this.settings = new Map(catalog.settings.map((setting) => [setting.name, setting]));
    $("add").addEventListener("click", () => {
      this.draft.add(this.nextProvider());
      this.render(`${this.draft.size - 1}-provider`);
      this.edited();
    });
  }

  /** The provider that a new fallback most likely has: an unused one whose key is there, else an unused common one. */
  nextProvider() {
    const used = new Set(Array.from({ length: this.draft.size }, (_, card) => this.draft.provider(card)));
    const free = this.catalog.providers.filter((spec) => !used.has(spec.name));
    const { secrets, environment } = this.draft.base;
    const ready = free.find((spec) => spec.fields.some((f) => f.kind === "secret" && (secrets[f.name] || environment[f.name])));
    return (ready ?? free.find((spec) => ["anthropic", "openai"].includes(spec.name)) ?? free[0] ?? this.catalog.providers[0]).name;
  }

  /** Draw everything anew; the focus goes to the control with data-key *focus*, else where it was. */
  render(focus = document.activeElement?.dataset?.key) {
    const { draft } = this;
    const open = [...document.querySelectorAll("#cards details[open]")].map((details) => details.dataset.card);
    const cards = Array.from({ length: draft.size }, (_, card) => this.card(card));
    $("cards").replaceChildren(...cards);
    open.forEach((card) => document.querySelector(`details[data-card="${card}"]`)?.setAttribute("open", ""));
    $("cards").classList.toggle("single", draft.row("litellm_enable") === false);
    $("common").replaceChildren(h("legend", {}, "Every call"), h("div", { class: "grid" }, this.rows(COMMON)));
    $("routing-fields").replaceChildren(h("div", { class: "grid" }, this.rows(ROUTING)));
    this.renderModels();
    if (focus) document.querySelector(`[data-key="${CSS.escape(focus)}"]`)?.focus();
  }

  /** Fill the lists behind the model inputs; *models* come later than the page. */
  renderModels(models = this.models) {
    this.models = models;
    document.querySelectorAll("datalist").forEach((list) => {
      list.replaceChildren(...(models[list.dataset.provider] ?? []).map((value) => h("option", { value })));
    });
  }

  changed(focus) {
    this.render(focus);
    this.edited();
  }

  card(card) {
    const { draft } = this;
    const provider = draft.provider(card), spec = this.specs.get(provider);
    const title = card ? `Fallback ${card}` : "Primary";
    const main = spec ? spec.fields.filter((f) => isMain(spec, f)) : [];
    const more = spec ? spec.fields.filter((f) => !main.includes(f)).map((f) => this.providerField(card, f)) : [];
    if (card) more.push(...this.overrides(card));
    return h("li", { class: "card", "data-card": card, "aria-label": title },
      h("header", {},
        h("span", { class: "place", "aria-hidden": "true" }, card + 1), h("h3", {}, title),
        card > 0 && h("div", { class: "card-actions" },
          this.mover(card, -1, "Move up", "↑", card === 1), this.mover(card, 1, "Move down", "↓", card === draft.size - 1),
          button("✕", () => { draft.remove(card); this.changed(card > 1 ? `${card - 1}-remove` : "add"); },
            { class: "icon", "aria-label": `Remove ${title}`, title: "Remove", "data-key": `${card}-remove` }))),
      h("div", { class: "verdict", "data-verdict": card, role: "status" }),
      h("div", { class: "grid" }, this.providerChoice(card, provider), this.modelInput(card, provider), main.map((f) => this.providerField(card, f))),
      more.length > 0 && h("details", { "data-card": card }, h("summary", {}, "More"), h("div", { class: "grid" }, more)));
  }

  mover(card, by, label, sign, disabled) {
    const key = `${card}${label}`;
    return button(sign, () => { this.draft.move(card, by); this.changed(`${card + by}${label}`); },
      { class: "icon", "aria-label": `${label} fallback ${card}`, title: label, disabled, "data-key": key });
  }

  /** The place of *name* in a Problem: a row, or a member of the fallback's entry. */
  at(card, name) {
    return card ? `settings.llm_fallback_config[${card - 1}].${name}` : `settings.${name}`;
  }

  providerChoice(card, provider) {
    const options = this.catalog.providers.map((spec) => [spec.name, spec.label]);
    if (!this.specs.has(provider)) options.unshift([provider ?? "", provider ? `${provider} (unknown)` : "Choose a provider"]);
    const control = select({
      value: provider, options, "data-key": `${card}-provider`,
      onvalue: (value) => {
        this.draft.setProvider(card, value);
        if (!(this.models[value] ?? []).includes(this.draft.model(card))) this.draft.setModel(card, card ? "" : undefined);
        this.changed(`${card}-model`);
      },
    });
    return field("Provider", control, { where: [card ? this.at(card, "provider") : "settings.llm_provider", card ? this.at(card, "x").slice(0, -2) : ""] });
  }

  modelInput(card, provider) {
    const list = `models-${card}`;
    const control = input({
      value: this.draft.model(card), list, "data-key": `${card}-model`, placeholder: "Type, or choose from the list",
      onvalue: (value) => { this.draft.setModel(card, value ?? (card ? "" : undefined)); this.edited(); },
    });
    const slot = field("Model", control, { where: [card ? this.at(card, "model") : "settings.llm_model"] });
    slot.append(h("datalist", { id: list, "data-provider": provider ?? "" }));
    return slot;
  }

  providerField(card, spec) {
    return spec.kind === "secret" ? this.secretField(card, spec) : this.plainField(card, spec);
  }

  plainField(card, spec) {
    const { draft } = this;
    const shared = draft.owns(card) ? undefined : draft.rows[spec.name];
    const environment = draft.base.environment[spec.name];
    const fallback = shared ?? environment?.value ?? spec.default;
    const control = input({
      value: draft.field(card, spec), type: spec.kind === "url" ? "url" : "text", "data-key": `${card}-${spec.name}`,
      placeholder: fallback || spec.example,
      onvalue: (value) => { draft.setField(card, spec, value); this.edited(); },
    });
    const help = shared ? "As for the card above, unless you set it here" : environment && `${environment.source}, unless you set it here`;
    return field(spec.label, control, { help, where: this.places(card, spec) });
  }

  places(card, spec) {
    const own = card ? [this.at(card, spec.name), this.at(card, spec.alias)] : [];
    return draftOwns(this.draft, card) ? [...own, `settings.${spec.name}`, `environment ${spec.name.toUpperCase()}`] : own;
  }

  secretField(card, spec) {
    const { draft } = this;
    const name = draft.secret(card, spec), key = `${card}-${spec.name}`;
    const control = secret({
      name, key, stored: draft.base.secrets[name], environment: draft.base.environment[name], edited: draft.secrets[name],
      example: spec.example, long: LONG_SECRETS.includes(spec.name),
      onvalue: (value) => { draft.setSecret(name, value); this.edited(); },
      onchange: (focus) => this.changed(focus),
    });
    const slot = field(spec.label, control, { where: [...this.places(card, spec), `secrets.${name}`] });
    if (!draft.owns(card)) slot.querySelector("label").after(this.secretChoice(card, spec, name));
    return slot;
  }

  /** Which secret a further card of the same provider uses: the shared one, another stored one, or one of its own. */
  secretChoice(card, spec, name) {
    const { draft } = this;
    const names = [...new Set([spec.name, name, ...Object.keys(draft.base.secrets).filter((n) => n.startsWith(spec.name))])];
    const options = [...names.map((n) => [n, n === spec.name ? `As above: ${n}` : n]), ["", "Another key…"]];
    return select({
      value: name, options, "aria-label": `Which ${spec.label} of fallback ${card}`, "data-key": `${card}-${spec.name}-choice`,
      onvalue: (value) => { draft.useSecret(card, spec, value || draft.freeSecret(spec.name)); this.changed(`${card}-${spec.name}`); },
    });
  }

  overrides(card) {
    const member = (name, label, help, props) =>
      field(label, input({
        value: this.draft.fallbacks[card - 1][name], type: "number", ...props, "data-key": `${card}-${name}`,
        onvalue: (value) => { this.draft.setMember(card, name, value); this.edited(); },
      }), { help, where: [this.at(card, name)] });
    return [
      member("temperature", "Temperature", null, { placeholder: "as every call", min: 0, max: 2 }),
      member("max_tokens", "Longest answer (tokens)", null, { placeholder: "as every call", min: 1 }),
      member("order", "Order", "Equal orders share the traffic", { placeholder: card + 1, min: 1 }),
      member("weight", "Weight", "Share of the traffic within one order", { placeholder: 1, min: 1 }),
    ];
  }

  rows(labels) {
    return Object.entries(labels).map(([name, label]) => this.row(this.settings.get(name), label));
  }

  row(setting, label) {
    const { draft } = this;
    const { name, kind } = setting, environment = draft.base.environment[name];
    const otherwise = environment?.value ?? setting.default;
    const where = [`settings.${name}`, `environment ${setting.variable}`];
    const help = environment && `${environment.source}, unless you set it here`;
    if (kind === "boolean") {
      const control = toggle({
        value: draft.rows[name] ?? otherwise, "data-key": name,
        onvalue: (value) => { draft.setRow(name, value === otherwise && !(name in draft.base.settings) ? undefined : value); this.changed(name); },
      });
      return field(label, control, { help, where, wide: true });
    }
    const control = input({
      value: draft.rows[name], type: kind === "text" ? "text" : "number", min: setting.low, max: setting.high, "data-key": name,
      placeholder: otherwise ?? "not sent",
      onvalue: (value) => { draft.setRow(name, value); this.edited(); },
    });
    return field(label, control, { help, where });
  }
}

const draftOwns = (draft, card) => draft.owns(card);

/** A field that most people need: the first of each group of which one is needed, and what stands alone. */
function isMain(spec, f) {
  const group = spec.needs.find((names) => names.includes(f.name));
  return group ? group[0] === f.name : f.kind === "secret" || Boolean(f.default);
}
