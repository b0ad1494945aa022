// The list of processes: who runs which revision, how fast each applied it, why one refused it.

import { $, h, ms, say } from "./dom.js";
import { tell } from "./words.js";

const FILTER_FROM = 12; // processes
const LATE_MS = 5000;
const STARTING_MS = 120000;
const ORDER = ["rejected", "late", "offline", "pending", "starting", "applied"];
const label = (one) => `${one.app || "?"} ${one.host}:${one.pid} ${Object.entries(one.labels ?? {}).join(" ")} ${one.state}`;

const starts = (one) => one.state === "initializing" && one.applied_revision == null && one.rejected_revision == null && !one.error_code
	&& Date.now() - new Date(one.started_at) < STARTING_MS;

function outcome(one, head) {
	if (one.state === "offline") return "offline";
	if (one.applied_revision === head.revision) return "applied";
	if (one.rejected_revision === head.revision && head.revision) return "rejected";
	if (starts(one)) return "starting";
	return head.revision && Date.now() - new Date(head.committed_at) > LATE_MS ? "late" : "pending";
}

// One row per process, drawn anew only when it changed, so that 500 stay quick.
export class Fleet {
	constructor() {
		Object.assign(this, { processes: new Map(), rows: new Map(), head: null, self: null, refused: null });
		$("fleet-filter").addEventListener("input", () => this.filter());
	}

	reset(instances) {
		this.processes = new Map(instances.map((one) => [one.instance, one]));
		this.rows.clear();
		this.draw();
	}

	update({ changed, gone }) {
		for (const id of gone) [this.processes, this.rows].forEach((map) => map.delete(id));
		for (const one of changed) this.processes.set(one.instance, one);
		this.draw();
	}

	draw() {
		if (!this.head) return;
		const list = [...this.processes.values()].map((one) => ({ one, result: outcome(one, this.head), name: label(one) }));
		list.sort((a, b) => ORDER.indexOf(a.result) - ORDER.indexOf(b.result) || a.name.localeCompare(b.name));
		const times = list.map(({ one }) => one.commit_to_live_ms).filter((time) => time != null);
		$("fleet").replaceChildren(...list.map(({ one, result, name }) => {
			const former = this.rows.get(one.instance), shown = JSON.stringify([result, one.applied_revision, one.error, one.state, one.commit_to_live_ms]);
			if (former?.dataset.shown === shown) return former;
			const row = this.row(one, result, name);
			row.dataset.shown = shown;
			row.classList.toggle("turned", Boolean(former));
			this.rows.set(one.instance, row);
			return row;
		}));
		this.refused = this.refusal(list.filter(({ result }) => result === "rejected").map(({ one }) => one));
		this.summarize(list.map(({ result }) => result), times);
		this.filter();
	}

	// The head that *processes* refused, what they go on with and why; null where none did.
	refusal(processes) {
		const [one] = processes, kept = processes.map(({ applied_revision: applied }) => applied).filter((applied) => applied != null);
		return one ? { revision: this.head.revision, processes: processes.length, keeps: kept.length ? Math.max(...kept) : null,
			error: one.error && { code: one.error_code, message: one.error, hint: one.hint } } : null;
	}

	row(one, result, name) {
		const { revision } = this.head, applied = one.applied_revision;
		const what = {
			applied: `revision ${revision}${one.state === "live" ? "" : `, ${one.state.replace("_", " ")}`}`, offline: "no report", starting: "starts",
			rejected: applied == null ? "refused it" : `keeps revision ${applied}`,
		}[result] ?? (applied == null ? "waits for a config" : `serves revision ${applied}`);
		return h("li", { class: `process ${result}`, "data-name": `${name} ${result}`.toLowerCase() },
			h("span", { class: "dot" }), h("span", { class: "who", title: `${name}, login ${one.role}` }, one.app || "?", h("small", {}, one.instance === this.self ? " this page" : ` ${one.host}:${one.pid}`)),
			h("span", { class: "what" }, what, one.commit_to_live_ms > 0 && `, ${ms(one.commit_to_live_ms)}`),
			result === "rejected" && h("p", { class: "bad" }, tell({ code: one.error_code, message: one.error ?? "", hint: one.hint }), h("code", {}, one.error_code)));
	}

	summarize(results, times) {
		const of = (...kinds) => results.filter((result) => kinds.includes(result)).length;
		const alive = results.length - of("offline"), applied = of("applied"), { revision } = this.head;
		const rest = [[of("rejected"), "refused it"], [of("pending", "late"), "on the way"], [of("starting"), "starting"], [of("offline"), "lost"]];
		const sum = `${applied} of ${alive} on revision ${revision}${rest.filter(([n]) => n).map(([n, text]) => `, ${n} ${text}`).join("")}`;
		say($("fleet-sum"), !alive ? "none yet" : revision ? sum : `${alive} waiting`);
		Object.assign($("progress"), { max: alive || 1, value: applied, hidden: !alive });
		say($("times"), times.length ? `Commit to live: ${ms(Math.min(...times))} to ${ms(Math.max(...times))}` : "");
		$("fleet-filter").hidden = results.length < FILTER_FROM;
	}

	filter() {
		const wanted = $("fleet-filter").value.trim().toLowerCase();
		for (const row of this.rows.values()) row.hidden = !row.dataset.name.includes(wanted);
	}
}
