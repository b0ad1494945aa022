// Who runs what: every process turning to the new revision, and the deployments that serve.

import { $, ago, count, h, ms, say } from "./dom.js";
import { sentence } from "./fields.js";

const FILTER_FROM = 12; // processes from which on a filter helps
const ORDER = { rejected: 0, late: 1, offline: 2, pending: 3, applied: 4 };

/** The list of processes. It keeps one row per process and changes only what changed, so 500 of them stay quick. */
export class Fleet {
  constructor() {
    this.processes = new Map();
    this.rows = new Map();
    this.head = null;
    this.self = null;
    $("fleet-filter").addEventListener("input", () => this.filter());
  }

  reset(instances) {
    this.processes = new Map(instances.map((one) => [one.instance, one]));
    this.rows.clear();
    this.draw();
  }

  update({ changed, gone }) {
    gone.forEach((id) => { this.processes.delete(id); this.rows.delete(id); });
    changed.forEach((one) => { this.processes.set(one.instance, one); });
    this.draw(new Set(changed.map((one) => one.instance)));
  }

  setHead(head) {
    this.head = head;
    this.draw();
  }

  draw(touched) {
    if (!this.head) return;
    const list = [...this.processes.values()].map((one) => [one, outcome(one, this.head)]);
    list.sort(([a, x], [b, y]) => ORDER[x] - ORDER[y] || label(a).localeCompare(label(b)));
    const slowest = Math.max(1, ...list.map(([one]) => one.commit_to_live_ms ?? 0));
    const rows = list.map(([one, result]) => {
      let row = this.rows.get(one.instance);
      const shown = `${result} ${one.applied_revision} ${one.error} ${one.state} ${this.head.revision} ${Math.round((one.commit_to_live_ms ?? 0) / slowest * 50)}`;
      if (!row || row.dataset.shown !== shown) {
        const turned = row && touched?.has(one.instance) && row.dataset.result !== result;
        row = this.row(one, result, slowest);
        row.classList.toggle("turned", Boolean(turned));
        Object.assign(row.dataset, { shown, result });
        this.rows.set(one.instance, row);
      }
      return row;
    });
    $("fleet").replaceChildren(...rows);
    $("fleet-filter").hidden = rows.length < FILTER_FROM;
    this.summarize(list);
    this.filter();
  }

  row(one, result, slowest) {
    const took = one.commit_to_live_ms;
    const bar = result === "applied" && took != null && h("meter", { min: 0, max: slowest, value: took, "aria-hidden": "true" });
    return h("li", { class: `process ${result}` },
      h("span", { class: "dot", "aria-hidden": "true" }),
      h("span", { class: "who", title: label(one) }, one.app || "?", h("small", {}, one.instance === this.self ? " this page" : ` ${one.host}:${one.pid}`)),
      h("span", { class: "what" }, words(one, result, this.head), bar),
      result === "rejected" && h("p", { class: "why" }, `${sentence(one.error)} ${sentence(one.hint)} `, one.error_code && h("code", {}, one.error_code)));
  }

  summarize(list) {
    const { revision, p50_ms } = this.head;
    const alive = list.filter(([, result]) => result !== "offline");
    const of = (result) => list.filter(([, r]) => r === result).length;
    const parts = [[of("rejected"), "refused it"], [of("pending") + of("late"), "on the way"], [of("offline"), "lost"]];
    const rest = parts.filter(([n]) => n).map(([n, text]) => `, ${n} ${text}`).join("");
    const applied = of("applied");
    say($("fleet-sum"), !revision ? count(alive.length, "process waits", "processes wait") : alive.length ? `${applied} of ${alive.length} on revision ${revision}${rest}` : "none yet");
    const took = list.map(([one]) => one.commit_to_live_ms).filter((n) => n != null);
    $("rollout").replaceChildren(...(alive.length ? [
      h("progress", { max: alive.length, value: applied, class: of("rejected") ? "bad" : "", "aria-label": `${applied} of ${count(alive.length, "process", "processes")} on revision ${revision}` }),
      h("p", { class: "quiet" }, took.length ? `commit to live: ${ms(Math.min(...took))} to ${ms(Math.max(...took))}` : p50_ms != null ? `commit to live: ${ms(p50_ms)}` : ""),
    ] : []));
  }

  filter() {
    const wanted = $("fleet-filter").value.trim().toLowerCase();
    for (const [id, row] of this.rows) {
      const one = this.processes.get(id);
      row.hidden = Boolean(wanted) && ![label(one), one.state, row.dataset.result].join(" ").toLowerCase().includes(wanted);
    }
  }
}

const label = (one) => `${one.app} ${one.host}:${one.pid} ${Object.entries(one.labels ?? {}).join(" ")}`;

function outcome(one, head) {
  if (one.state === "offline") return "offline";
  if (one.applied_revision === head.revision) return "applied";
  if (one.rejected_revision === head.revision) return head.revision ? "rejected" : "pending";
  return Date.now() - new Date(head.committed_at) > 5000 ? "late" : "pending";
}

function words(one, result, head) {
  const kept = one.applied_revision == null ? "waits for a config" : `serves revision ${one.applied_revision}`;
  switch (result) {
    case "applied": return one.state === "live" ? `revision ${head.revision} ${one.commit_to_live_ms == null ? "" : ms(one.commit_to_live_ms)}` : `revision ${head.revision}, ${one.state.replace("_", " ")}`;
    case "rejected": return one.applied_revision == null ? "refused it" : `keeps revision ${one.applied_revision}`;
    case "offline": return "no report";
    default: return kept;
  }
}

/** What serves, and what each deployment did in the last minutes; *usage* is what GET /api/usage gives. */
export function drawServing(serving, usage) {
  say($("serving-sum"), serving.length ? "last 30 minutes" : "nothing yet");
  $("serving").replaceChildren(...serving.map((one) => {
    const points = usage.filter((p) => p.deployment_id === one.deployment_id);
    const sum = (name) => points.reduce((total, p) => total + p[name], 0);
    const calls = sum("calls"), failures = sum("failures"), failovers = sum("failovers");
    const busy = points.filter((p) => p.latency_ms != null && p.calls);
    const mean = calls ? busy.reduce((total, p) => total + p.latency_ms * p.calls, 0) / calls : null;
    return h("li", { class: `deployment ${one.role}` },
      h("p", { class: "name" }, h("span", { class: "place", "aria-hidden": "true" }, one.order), h("span", {}, `${one.provider}/${one.model}`)),
      h("p", { class: "facts" },
        h("span", {}, count(one.processes, "process", "processes")),
        h("span", {}, count(calls, "call"), mean != null && `, ${ms(mean)}`),
        failovers > 0 && h("span", { class: "warn" }, `${failovers} by failover`),
        failures > 0 && h("span", { class: "bad" }, `${count(failures, "failed attempt")}`),
        one.cooling > 0 && h("span", { class: "warn" }, `cooling on ${one.cooling}`)));
  }));
}
