// The admin's words: what settings are called on this page, and hints that need no command line.

import { clock } from "./dom.js";

export const MEMBERS = { // of a deployment; the default's primary has them as rows llm_…
	provider: "Provider", model: "Model", temperature: "Temperature", max_tokens: "Longest answer (tokens)", params: "Parameters", order: "Order", weight: "Weight",
	timeout: "Timeout (seconds)", first_token_timeout: "First words within (seconds)", profile: "Profile", fallbacks: "Fallbacks", fallback_config: "Fallbacks",
};
export const ROUTING = { // label, help
	litellm_enable: ["One engine for all providers", "Off: each provider's own library, with the same fallbacks"],
	litellm_num_retries: ["Tries", "On one deployment that fails, before the next is asked"],
	litellm_allowed_fails: ["Allowed failures", "Of a deployment, before it is left alone"],
	litellm_cooldown_time: ["Pause (seconds)", "For which it is left alone then"],
	litellm_timeout: ["Timeout of an attempt (seconds)", "Where a deployment has none of its own"],
	litellm_model_name: ["Name in traces and metrics", "Of the default model"],
	litellm_check_streams: ["Check that streams are whole", "Off: a stream that ends without its end mark is taken as it is"],
};
export const WATCHING = {
	llm_probe_interval_h: ["Ask idle deployments (hours)", "What nobody called for so long is asked once, for some 30 tokens"],
	llm_alert_webhook: ["Send alerts to", "A URL that gets a post when an error appears or goes"],
};
const labels = new Map([...Object.entries(MEMBERS).map(([name, label]) => [`llm_${name}`, label]), ...Object.entries({ ...ROUTING, ...WATCHING }).map(([name, [label]]) => [name, label])]);

// Learn what parameters and the fields of providers are called; *catalog* is the answer of GET /api/providers.
export function learn(catalog) {
	for (const { name } of catalog.params) labels.set(name, human(name));
	for (const spec of catalog.providers) for (const field of spec.fields) labels.set(field.name, `${spec.label}: ${field.label}`);
}

export const human = (name) => name[0].toUpperCase() + name.slice(1).replaceAll("_", " ");

// What a setting or a secret is called; itself where it has no name here.
export const labelOf = (key) => labels.get(key) ?? (key === "llm:" ? "Model without a name" : key.startsWith("llm:") ? `Model “${key.slice(4)}”` : key);

// Where a Problem is, for people: "fast, fallback 1, Temperature".
export function placeOf(where) {
	const [, row, index, rest] = /^settings\.(llm:[^.[]*(?:\.fallbacks)?|[A-Za-z0-9_]+)(?:\[(\d+)\])?(.*)$/.exec(where) ?? [];
	if (where.startsWith("secrets.")) return `key ${labelOf(where.slice(8))}`;
	if (!row) return where.replace(DIGEST, "");
	const [, name, list] = /^llm:([^.]*)(\.fallbacks)?/.exec(row) ?? [];
	const place = name !== undefined ? [name || labelOf(row), list && !index && "fallbacks"] : [row === "llm_fallback_config" ? !index && "fallbacks" : labelOf(row)];
	return [...place, index && `fallback ${+index + 1}`, ...rest.split(".").filter(Boolean).map((part) => MEMBERS[part] ?? part)].filter(Boolean).join(", ");
}

const INSTEAD = { // of hints that name a command, by code
	LR100: "Fill it in", LR101: "Choose one of the list", LR102: "Enter it here", LR110: "Enter a key in the field for keys alone, where it is sealed",
	LR111: "Mend the address, or enter the key again for this one", LR112: "Write the value itself; a key belongs into the field for keys", LR113: "Enter the whole key file of a service account",
	LR115: "Add a model of that name, or have the application ask for another", LR201: "This page goes on as soon as it answers", LR302: "Check asks each deployment once and says more",
	LR320: "Check asks each of them once and says more", LR323: "Enter one that works", LR324: "“Ask idle deployments” has it asked now and then", LR325: "Check asks it once and says more", LR329: "“Ask idle deployments” has it asked now and then",
	LR401: "Choose provider and model, and save", LR501: "Have this server started with a keyring", LR503: "Enter it again",
};
const ADMINS = /^LR20[2-9]/; // only whoever runs the server can mend these, and by a command
const COMMAND = /\bliverouter (set|unset|show|check|serve|migrate|keys|diff|preload)\b|liverouter\.preload/;

const PLACE = /\bsettings\.(?:llm:[\w-]*|\w+)(?:\[\d+\])?(?:\.\w+(?:\[\d+\])?)*/g, SETTING = /['`“]?\b((?:llm|litellm)_[a-z_]+|[a-z]+(?:_[a-z]+)+)\b['`”]?/g;

const AT = /(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d) UTC/g;

const DIGEST = /#[0-9a-f]{8}\b/g; // of a deployment's id, which tells apart what differs in key or address alone

// *text* of the server's in the words of this page.
export const inWords = (text) => text.replace(PLACE, placeOf).replace(AT, (_, day, time) => clock(`${day}T${time}Z`)).replace(/'params'/g, "parameters").replace(SETTING, (found, name) => (labels.has(name) ? `“${labels.get(name)}”` : found))
	.replace(/\blitellm's list\b/g, "the list of models").replace(/\bimporting litellm\b/g, "loading the engine").replace(/\blitellm\.(?=[A-Z])/g, "").replace(/\blitellm\b/gi, "the engine")
	.replace(/\b[A-Z][A-Za-z]{2,40}Error (\d{3})\b/g, "HTTP $1").replace(/ \[LR\d{3} at [^\][]*\]/g, "").replace(DIGEST, "").replace(/\.(?=[;)])/g, "");

// *text* as a sentence; a name at its beginning stays as it is.
export const sentence = (text) => (text ? (/^\S+[/_]/.test(text) ? text[0] : text[0].toUpperCase()) + text.slice(1) + (/[.?!]$/.test(text) ? " " : ". ") : "");

// A Problem's hint for somebody in front of this page.
export function hintOf({ code, hint }) {
	if (!COMMAND.test(hint ?? "") || ADMINS.test(code)) return inWords(hint ?? "");
	return INSTEAD[code] ?? inWords(hint.split(/[;.] |: (?=liverouter )/).filter((clause) => !COMMAND.test(clause)).join(". "));
}

export const tell = (problem) => sentence(inWords(problem.message)) + sentence(hintOf(problem));
export const told = (text) => sentence(inWords(text));
