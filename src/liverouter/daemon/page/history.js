// Revisions: who changed what, the differences, and the way back.

import { call } from "./api.js";
import { $, ago, ask, button, h } from "./dom.js";

const STEP = 20;

/** The list of revisions. *rolledBack* is called with the revision that a roll back made. */
export class History {
  constructor({ head, author, rolledBack }) {
    Object.assign(this, { head, author, rolledBack, limit: STEP });
    $("older").addEventListener("click", () => { this.limit = Math.min(this.limit + 3 * STEP, 1000); this.load(); });
  }

  async load() {
    const rows = await call("GET", `/api/revisions?limit=${this.limit}`);
    const open = new Set([...$("history").querySelectorAll("details[open]")].map((d) => d.dataset.revision));
    $("history").replaceChildren(...rows.map((row) => this.row(row, open.has(String(row.revision)))));
    $("older").hidden = rows.length < this.limit || this.limit >= 1000;
  }

  row(row, open) {
    const current = row.revision === this.head();
    const body = h("div", { class: "diff" });
    const details = h("details", { "data-revision": row.revision, open, ontoggle: () => details.open && fillDiff(body, row.revision - 1, row.revision) },
      h("summary", {},
        h("span", { class: "number" }, row.revision),
        h("span", { class: "changed" }, row.kind === "edit" ? "" : h("em", {}, row.kind === "rollback" ? "roll back " : "new keys "), row.changed || "nothing yet"),
        h("span", { class: "by quiet" }, `${row.author}${row.application ? ` · ${row.application}` : ""} · `, ago(row.committed_at))),
      row.comment && h("p", { class: "comment" }, row.comment),
      row.revision > 0 ? body : null);
    return h("li", { class: current ? "current" : "" }, details,
      current ? h("span", { class: "badge" }, "current") : button("Roll back", () => this.rollBack(row), { class: "plain", "aria-label": `Roll back to revision ${row.revision}` }));
  }

  async rollBack(row) {
    const body = h("div", { class: "diff" });
    const why = h("input", { maxlength: 500, placeholder: "for the history", "aria-label": "Why" });
    fillDiff(body, this.head(), row.revision);
    const chosen = await ask(`Back to revision ${row.revision}?`,
      [h("p", {}, "Settings and secrets become as they were then, as a new revision. This will change:"), body, h("label", { class: "inline" }, "Why ", why)],
      ["Cancel", ""], ["Roll back", "go", "primary"]);
    if (chosen !== "go") return;
    const saved = await call("POST", "/api/rollback", { revision: row.revision, comment: why.value.trim() || null, author: this.author() });
    this.rolledBack(saved.revision);
  }
}

async function fillDiff(element, a, b) {
  const changes = await call("GET", `/api/diff?a=${a}&b=${b}`).catch((error) => error);
  element.replaceChildren(changes instanceof Error ? h("p", { class: "fault" }, changes.message) : diffTable(changes));
}

/** A table of differences, as GET /api/diff gives them. */
export function diffTable(changes) {
  if (!changes.length) return h("p", { class: "quiet" }, "No difference.");
  return h("table", {},
    h("thead", { class: "only-read" }, h("tr", {}, ["What", "Before", "After"].map((text) => h("th", { scope: "col" }, text)))),
    h("tbody", {}, changes.map(({ object, key, old, new: now }) =>
      h("tr", {}, h("th", { scope: "row" }, object === "secret" ? `secret ${key}` : key), h("td", { class: "old" }, shown(old)), h("td", { class: "new" }, shown(now))))));
}

export const shown = (value) => (value == null ? h("span", { class: "quiet" }, "not set") : h("code", {}, typeof value === "string" ? value : JSON.stringify(value, null, 1)));
