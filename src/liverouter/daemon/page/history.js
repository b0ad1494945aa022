// Revisions: who changed what, the differences, a link to one of them, and the way back.

import { call, read } from "./api.js";
import { diffTable } from "./diff.js";
import { $, ago, ask, button, count, h, say, who } from "./dom.js";
import { labelOf } from "./words.js";

const NEWEST = 50, MOST = 1000; // as the API
const KINDS = { rollback: "roll back: ", rotate: "new keys: " };
const LINK = /^#revision=(\d{1,18})$/;

// What a revision changed, in the admin's words: "Temperature, key OpenAI: API key".
const wordsOf = (changed) => changed?.split(", ").map((key) => (key.startsWith("secret ") ? `key ${labelOf(key.slice(7))}` : labelOf(key))).join(", ");

// The list of revisions. *rolledBack* is called with the revision that a rollback made, *failed* with its error.
export class History {
	constructor({ author, rolledBack, failed }) {
		Object.assign(this, { author, rolledBack, failed, limit: NEWEST, open: new Set() });
		$("history-filter").addEventListener("input", () => {
			this.filter();
			if ($("history-filter").value && this.limit < MOST) this.more(MOST);
		});
		$("older").addEventListener("click", () => this.more(this.limit + 200));
	}

	async load() {
		const rows = await read(`/api/revisions?limit=${this.limit}`);
		this.newest = rows[0]?.revision ?? 0;
		$("older").hidden = rows.length < this.limit || this.limit >= MOST;
		const drawn = JSON.stringify(rows);
		if (drawn === this.drawn) return; // a button that is replaced under the mouse is not clicked
		this.drawn = drawn;
		$("history").replaceChildren(...rows.map((row) => this.row(row)));
		this.filter();
	}

	more(limit) {
		this.limit = Math.min(limit, MOST);
		return this.load().catch(this.failed);
	}

	// Open the revision that the address names behind its #, and show it.
	async follow() {
		const [, revision] = LINK.exec(location.hash) ?? [];
		if (!revision) return;
		this.open.add(+revision);
		await this.more(Math.max(this.limit, this.newest - revision + 1));
		const item = $(`revision-${revision}`);
		if (!item) return say($("history-found"), `Revision ${revision} is not among the newest ${MOST}`);
		item.hidden = false;
		const toggle = item.querySelector("button");
		if (toggle.getAttribute("aria-expanded") === "false") toggle.click();
		item.scrollIntoView({ block: "center" });
		toggle.focus();
	}

	row(row) {
		const { revision } = row, id = `revision-${revision}`, details = h("div", { id: `${id}-diff`, hidden: true });
		const toggle = button([], () => turn(details.hidden), { class: "row", "aria-expanded": "false", "aria-controls": details.id });
		toggle.append(h("b", {}, revision), h("span", { class: "changed" }, KINDS[row.kind], wordsOf(row.changed) ?? "nothing", row.comment && h("q", {}, row.comment)),
			h("small", {}, [who(row), row.application].filter(Boolean).join(" · "), " · ", ago(row.committed_at)));
		const turn = (open) => {
			details.hidden = !open;
			toggle.setAttribute("aria-expanded", String(open));
			this.open[open ? "add" : "delete"](revision);
			if (!revision) say(details, "Nothing was stored yet.");
			else if (open) showDiff(details, revision - 1, revision, h("a", { href: `#revision=${revision}` }, `Link to revision ${revision}`));
		};
		if (this.open.has(revision)) turn(true);
		const words = [revision, row.kind, wordsOf(row.changed), row.changed, row.comment, row.author, row.role, row.application];
		return h("li", { id, "data-words": words.filter((word) => word != null).join(" ").toLowerCase() },
			h("div", { class: "line" }, toggle, revision === this.newest ? h("b", { class: "good" }, "current")
				: button("Roll back", () => this.rollBack(revision).catch(this.failed), { class: "plain", "aria-label": `Roll back to revision ${revision}` })), details);
	}

	filter() {
		const wanted = $("history-filter").value.trim().toLowerCase(), rows = [...$("history").children];
		for (const row of rows) row.hidden = !row.dataset.words.includes(wanted);
		say($("history-found"), wanted ? `${count(rows.filter((row) => !row.hidden).length, "revision")} of ${rows.length}` : "");
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

const showDiff = async (element, a, b, ...more) =>
	element.replaceChildren(await call("GET", `/api/diff?a=${a}&b=${b}`).then(diffTable, (error) => h("p", { class: "fault" }, error.message)), ...more);
