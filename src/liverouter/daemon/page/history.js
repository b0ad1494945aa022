// Revisions: who changed what, the differences, and the way back.

import { call, read } from "./api.js";
import { $, ago, ask, button, h, who } from "./dom.js";

const NEWEST = 50;

// The list of revisions. *rolledBack* is called with the revision that a rollback made, *failed* with its error.
export class History {
	constructor({ author, rolledBack, failed }) {
		Object.assign(this, { author, rolledBack, failed });
	}

	async load() {
		const rows = await read(`/api/revisions?limit=${NEWEST}`);
		this.newest = rows[0]?.revision ?? 0;
		const drawn = JSON.stringify(rows);
		if (drawn === this.drawn) return; // a button that is replaced under the mouse is not clicked
		this.drawn = drawn;
		const open = [...document.querySelectorAll("#history details[open]")].map((details) => Number(details.dataset.revision));
		$("history").replaceChildren(...rows.map((row) => this.row(row, open.includes(row.revision))));
	}

	row(row, open) {
		const { revision } = row, diff = h("div");
		const details = h("details", { "data-revision": revision, open, ontoggle: () => revision && details.open && showDiff(diff, revision - 1, revision) },
			h("summary", {}, h("b", {}, revision), h("span", { class: "changed" }, { rollback: "roll back: ", rotate: "new keys: " }[row.kind], row.changed ?? "nothing"),
				h("small", {}, [who(row), row.application].filter(Boolean).join(" · "), " · ", ago(row.committed_at))),
			row.comment && h("p", {}, row.comment), diff);
		return h("li", {}, details, revision === this.newest ? h("b", { class: "good" }, "current") :
			button("Roll back", () => this.rollBack(revision).catch(this.failed), { class: "plain", "aria-label": `Roll back to revision ${revision}` }));
	}

	// Ask, then roll back to *revision*; where somebody saves meanwhile, ask again, with what *first* says of that.
	async rollBack(revision, said = "", first = "") {
		const { newest } = this, diff = h("div"), why = h("input", { maxlength: 500, value: said, placeholder: "Why", "aria-label": "Why, for the history" });
		showDiff(diff, newest, revision);
		const body = [h("p", {}, first, "Settings and secrets become as they were then, as a new revision:"), diff, why];
		if (await ask(`Back to revision ${revision}?`, body, ["Cancel", ""], ["Roll back", "go", "primary"]) !== "go") return;
		try {
			const made = await call("POST", "/api/rollback", { revision, comment: why.value.trim() || null, author: this.author() }, { "If-Match": `"${newest}"` });
			await this.rolledBack(made.revision);
		} catch (error) {
			if (error.status !== 412) throw error;
			await this.load();
			await this.rollBack(revision, why.value, `Revision ${this.newest} was saved meanwhile. `);
		}
	}
}

const showDiff = async (element, a, b) =>
	element.replaceChildren(await call("GET", `/api/diff?a=${a}&b=${b}`).then(diffTable, (error) => h("p", { class: "fault" }, error.message)));

export const diffTable = (changes) => (changes.length ? h("table", {}, h("tbody", {}, changes.map((change) => h("tr", {},
	h("th", { scope: "row" }, change.object === "secret" ? `secret ${change.key}` : change.key),
	h("td", { class: "old", "aria-label": "before" }, shown(change.old)), h("td", { class: "new", "aria-label": "after" }, shown(change.new)))))) : h("p", { class: "quiet" }, "No difference."));

const shown = (value) => (value == null ? "not set" : h("code", {}, typeof value === "string" ? value : JSON.stringify(value, null, 1)));
