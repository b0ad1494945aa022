// The parameters of one deployment, llm_params or `params`: those that it has, and a list of those that it could have.

import { button, h } from "./dom.js";
import { field, input, select } from "./fields.js";
import { human } from "./words.js";

const TYPES = { number: "number", integer: "number", texts: "lines", object: "json", thinking: "json" };
const EFFORTS = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];

// The fields of *card*'s parameters. *specs* are those of the catalog; *takes* the names that the provider takes;
// *edited* is called after an edit, *redraw* with the data-key to focus after one that changes which there are.
export function params({ card, specs, takes, edited, redraw }) {
	const given = card.get("params") ?? {};
	const put = (name, value) => {
		const rest = Object.fromEntries(Object.entries({ ...given, ...card.get("params"), [name]: value }).filter(([, one]) => one !== undefined));
		card.set("params", Object.keys(rest).length ? rest : undefined);
	};
	const adder = `${card.key}-add-param`;
	const fields = Object.entries(given).map(([name, value]) => {
		const spec = specs.find((one) => one.name === name), key = `${card.key}-params.${name}`;
		const words = spec?.kind === "effort" ? EFFORTS : spec?.words ?? [];
		const change = (changed) => { put(name, changed ?? null); edited(); }; // null: nothing is sent, and the field stays
		const control = words.length ? select({ value: value ?? "", options: [["", "Choose…"], ...words.map((word) => [word, word])], "data-key": key, onvalue: (word) => change(word || null) })
			: input({ value, type: TYPES[spec?.kind], "data-key": key, onvalue: change });
		const remove = button("✕", () => { put(name, undefined); redraw(adder); }, { class: "icon", title: "Remove", "aria-label": `Remove parameter ${human(name)}` });
		return field(human(name), h("div", { class: "beside" }, control, remove), { help: words.length ? "" : spec?.wanted, where: card.at("params").map((at) => `${at}.${name}`) });
	});
	const free = specs.filter((one) => !(one.name in given) && takes.includes(one.name));
	const add = free.length > 0 && field("Further parameter", select({
		value: "", options: [["", "Add…"], ...free.map((one) => [one.name, human(one.name)])], "data-key": adder,
		onvalue: (name) => { put(name, null); redraw(`${card.key}-params.${name}`); },
	}), { where: card.at("params") });
	return [...fields, add];
}
