// What differs between two revisions, member by member: a list of fallbacks entry by entry, and not as two pieces of JSON.

import { h } from "./dom.js";
import { human, labelOf, MEMBERS } from "./words.js";

const isObject = (value) => value && typeof value === "object" && !Array.isArray(value);
const listOf = (value) => (value == null ? [] : [value].flat());
const nameOf = (entry) => (isObject(entry) ? `${entry.provider || "?"}/${entry.model || "?"}` : JSON.stringify(entry));
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

// Yield [where, old, new] for each member that differs; *path* says where they are.
function* parts(path, old, now) {
	if (same(old, now)) return;
	if (!isObject(old ?? {}) || !isObject(now ?? {}) || "secret" in { ...old, ...now }) yield [path, old, now];
	else for (const name of new Set([...Object.keys(old ?? {}), ...Object.keys(now ?? {})])) {
		if (name === "fallbacks") yield* fallbacks(path, old?.[name], now?.[name]);
		else yield* parts([...path, MEMBERS[name] ?? human(name)], old?.[name], now?.[name]);
	}
}

// The same for two lists of fallbacks: an entry is another's successor where provider and model are the same, else where
// the place is.
function* fallbacks(path, before, after) {
	const old = listOf(before), now = listOf(after), left = new Set(old.keys());
	const take = (index) => (index >= 0 && left.delete(index) ? index : undefined);
	const from = now.map((entry) => take([...left].find((index) => nameOf(old[index]) === nameOf(entry)) ?? -1));
	now.forEach((entry, index) => { from[index] ??= left.has(index) && old[index]?.provider === entry?.provider ? take(index) : undefined; });
	const kept = from.filter((index) => index !== undefined).sort((a, b) => a - b);
	let nth = 0;
	for (const [index, entry] of now.entries()) {
		const here = [...path, `Fallback ${index + 1}`], former = from[index];
		if (former === undefined) yield [here, null, nameOf(entry), entry];
		else {
			if (kept[nth++] !== former) yield [[...here, "Place"], `${former + 1}: ${nameOf(old[former])}`, `${index + 1}: ${nameOf(entry)}`];
			yield* parts(here, old[former], entry);
		}
		if (former === undefined) yield* parts(here, null, without(entry));
	}
	for (const index of left) yield [[...path, `Fallback ${index + 1}`], nameOf(old[index]), null];
}

// An entry's members beside provider and model, which its name says.
const without = ({ provider, model, ...rest } = {}) => rest;

function* partsOf({ object, key, old, new: now, null: nothing }) {
	const label = labelOf(key);
	if (nothing && typeof (old ?? now ?? "") !== "object") yield [[label], nothing === "old" ? NO_VALUE : old, nothing === "new" ? NO_VALUE : now];
	else if (object === "secret") yield [[`Key ${label}`], old, now];
	else if (object === "origins") yield [[`Where key ${label} may go`], old, now];
	else if (key === "llm_fallback_config") yield* fallbacks([], old, now);
	else if (key.startsWith("llm:") || key === "llm_params") {
		if (key.startsWith("llm:") && (old == null || now == null)) yield [[label], old && nameOf(old), now && nameOf(now)];
		if (now != null || key === "llm_params") yield* parts([label], old, old == null && key !== "llm_params" ? without(now) : now);
	} else yield [[label], old, now];
}

// A table of *changes*, as /api/diff tells them, each with its `note`, if it has one.
export function diffTable(changes) {
	const rows = changes.flatMap((change) => [...partsOf(change)].map(([path, old, now], index) => h("tr", {},
		h("th", { scope: "row", title: change.key }, path.join(" · "), index === 0 && change.note && h("small", {}, change.note)),
		h("td", { class: "old", "aria-label": "before" }, shown(old)), h("td", { class: "new", "aria-label": "after" }, shown(now)))));
	return rows.length ? h("table", {}, h("thead", {}, h("tr", {}, ["What", "Before", "After"].map((text) => h("th", { scope: "col" }, text)))), h("tbody", {}, rows)) : h("p", { class: "quiet" }, "No difference.");
}

const NO_VALUE = Symbol("of a setting that is null");
const shown = (value) => (value == null ? "not set" : value === NO_VALUE ? "no value" : h("code", {}, typeof value === "string" ? value : JSON.stringify(value, null, 1)));
