// From a draft to a revision: checks it, saves it, and shows what others saved before it goes over that.

import { ApiError, call } from "./api.js";
import { diffTable } from "./diff.js";
import { $, ago, ask, clock, count, h, ms, say, who } from "./dom.js";
import { place } from "./fields.js";
import { hintOf, labelOf, sentence, tell, told } from "./words.js";

const MISSING = ["LR100", "LR102"];
const isError = (problem) => problem.severity === "error";

// Checks and saves *draft*, which *models* shows. *left* is given the Problems that no field shows; *idle* is called after
// each check and save.
export class Saving {
	constructor({ draft, author, reload, left, idle }) {
		Object.assign(this, { draft, author, reload, left, idle, asked: false, said: "", saidOf: 0, outage: "", found: [], refused: [], keys: [] });
		$("check").addEventListener("click", () => this.busy($("check"), "Checking…", () => this.checkLive()));
		$("config").addEventListener("submit", (event) => {
			event.preventDefault();
			if (draft.changed.length) this.busy($("save"), "Saving…", () => this.save());
		});
		$("discard").addEventListener("click", () => { this.asked = false; this.said = ""; reload({ keep: false }).catch((error) => this.failed(error)); });
	}

	get isSaving() {
		return $("save").hasAttribute("aria-busy") || $("dialog").open;
	}

	// Say *text* in the bar: it holds for the revision that is shown, and until the next edit.
	bar(text, fault = false) {
		Object.assign(this, { said: text, saidOf: this.draft.base.revision, fault });
		this.drawBar();
	}

	// Another revision is shown, or the server or the database is lost or back, as *outage* says: what was said is over.
	news(outage = this.outage) {
		if (outage !== this.outage || this.saidOf !== this.draft.base.revision) this.said = "";
		this.outage = outage;
		this.drawBar();
	}

	drawBar() {
		const { changed } = this.draft, { said, outage } = this;
		$("save").disabled = $("discard").hidden = $("signature").hidden = !changed.length;
		$("bar-text").classList.toggle("fault", Boolean(said ? this.fault : outage));
		const edits = changed.length && `${count(changed.length, "unsaved change")}: ${changed.map(labelOf).join(", ")}`;
		say($("bar-text"), said || [outage, edits].filter(Boolean).join("; ") || (this.draft.base.revision ? "Everything is saved" : "Nothing is stored yet"));
	}

	// After each edit: show what is not saved, and its Problems once nothing is edited for 400 ms.
	edited() {
		this.bar("");
		this.turn = null;
		this.refused = [];
		document.querySelectorAll(".verdict").forEach((verdict) => verdict.replaceChildren());
		clearTimeout(this.soon);
		this.soon = setTimeout(() => this.check(false).catch(() => {}), 400);
	}

	failed(error) {
		if (!(error instanceof ApiError)) throw error;
		this.found = error.problems;
		const rest = this.place();
		this.bar(rest.map(tell).join("") || `${count(error.problems.length, "problem")}: see the marked fields`, true);
	}

	async busy(control, text, work) {
		if (control.hasAttribute("aria-busy")) return;
		const before = control.textContent;
		control.setAttribute("aria-busy", "true");
		control.textContent = text;
		this.asked = true;
		await work().catch((error) => this.failed(error)).finally(() => {
			control.removeAttribute("aria-busy");
			control.textContent = before;
			this.idle();
		});
	}

	// The draft as the API takes it; a secret's input that is still empty changes nothing.
	body() {
		const { settings, secrets } = this.draft.changes();
		return { settings, secrets: Object.fromEntries(Object.entries(secrets).filter(([, value]) => value !== "")) };
	}

	async check(live) {
		clearTimeout(this.soon);
		const turn = this.turn = {}, found = await call("POST", "/api/check", { ...this.body(), live, name: live && this.draft.names.length > 1 ? this.models.name : null });
		found.late = turn !== this.turn;
		if (!found.late) this.show(found.problems);
		return found;
	}

	show(problems) {
		this.turn = null; // the answer to an earlier check is about another draft
		this.found = problems.filter((problem) => this.asked || !MISSING.includes(problem.code));
		this.left(this.place());
	}

	// Mark the fields of what was found, and of the keys that providers refuse; return what no field is about.
	place() {
		const refused = this.refused.filter(({ where }) => !this.keys.some((key) => key.where === where));
		const keys = [...this.keys, ...refused].filter(({ where }) => !(where.replace("secrets.", "") in this.draft.secrets));
		const left = place([...this.found, ...keys]).filter((problem) => this.found.includes(problem));
		this.models?.drawTabs();
		return left;
	}

	// Mark the keys that *health*, of the deployments *serving*, says are refused.
	markKeys(health, serving) {
		const source = (one) => serving.find(({ name, deployment_id: id }) => name === one.name && id === one.deployment)?.credential_source;
		this.keys = health.filter(({ code }) => code === "LR323").map((problem) => refusal(source(problem), problem)).filter(Boolean);
		this.left(this.place());
	}

	async checkLive() {
		const { name } = this.models, place = ({ order }, card) => order ?? card + 2; // a fallback's order, as config/deployments.py defaults it
		const cards = [1, ...this.draft.models.get(name).fallbacks.map(place)].map((order, card) => ({ order, card })).sort((a, b) => a.order - b.order);
		const { calls, problems, late } = await this.check(true);
		if (late) return this.bar("The draft changed meanwhile: check again", true);
		calls.forEach(({ duration_ms, problem }, index) => {
			if (!cards[index]) return; // a fallback that the environment gives has no card
			const verdict = document.querySelector(`[data-name="${name}"] [data-card="${cards[index].card}"] .verdict`);
			verdict.classList.toggle("bad", Boolean(problem));
			verdict.replaceChildren(...(problem ? [h("b", {}, told(problem.message)), h("p", {}, sentence(hintOf(problem)))] : [`Answered in ${ms(duration_ms)} at ${clock(Date.now())}`]));
		});
		this.refused = calls.filter((one) => one.problem?.code === "LR323").map((one) => refusal(one.credential_source, one.problem)).filter(Boolean);
		this.place();
		const errors = problems.filter(isError).length, tried = count(calls.length, "deployment"), at = `at ${clock(Date.now())}`;
		if (errors) this.models.showFault();
		const failed = calls.filter((one) => one.problem), strays = calls.slice(cards.length).filter((one) => one.problem);
		if (errors) this.bar(`${count(errors, "problem")} to mend`, true);
		else if (failed.length) this.bar(`${failed.length} of ${tried} did not answer ${at}${strays.map((one) => `, ${one.model}`).join("")}`, true);
		else this.bar(`${tried} answered ${at}${this.draft.changed.length ? ", nothing is saved yet" : ""}`);
	}

	async save() {
		const errors = (await this.check(false)).problems.filter(isError);
		if (errors.length && (errors.some(({ code }) => code === "LR110") || !(await this.saveAnyway(errors)))) {
			this.bar(`Not saved: ${count(errors.length, "problem")} to mend`, true);
			this.models.showFault();
			return;
		}
		const body = { ...this.body(), comment: $("comment").value.trim() || null, author: this.author() };
		try {
			const saved = await call("PUT", "/api/config", body, { "If-Match": `"${this.draft.base.revision}"` });
			$("comment").value = "";
			this.draft.sent(body);
			await this.reload({ keep: true });
			this.bar(saved.changed ? `Saved as revision ${saved.revision}` : "Stored already: nothing was different");
		} catch (error) {
			if (error.status !== 412) throw error;
			await this.conflict(error.body.current, error.body.changes);
		}
	}

	async saveAnyway(errors) {
		const list = h("ul", {}, errors.map((problem) => h("li", {}, tell(problem))));
		const body = [h("p", {}, "Processes would probably refuse this, and go on with what they have:"), list];
		return (await ask("Save with problems?", body, ["Go back", "", "primary"], ["Save anyway", "go"])) === "go";
	}

	// Somebody else saved first: show their changes and the unsaved edits, and ask which to keep.
	async conflict(current, changes) {
		const { settings, secrets } = this.body(), { base } = this.draft, theirs = changes.map((change) => change.key);
		const mine = [...Object.entries(settings).map(([key, value]) => [key, base.settings[key], value]),
			...Object.entries(secrets).map(([name, value]) => [name, base.secrets[name]?.fingerprint, value && "a new secret"])];
		const chosen = await ask(`Revision ${current.revision} came first`, [
			h("p", {}, `${who(current)} saved it `, ago(current.committed_at), current.comment ? `: “${current.comment}”` : "."), diffTable(changes),
			h("h3", {}, "Your edits, not saved yet"),
			diffTable(mine.map(([key, old, value]) => ({ key, old, new: value, note: theirs.includes(key) && " changed by both" }))),
			h("p", {}, "Kept edits go on top of theirs. Look them over, then save."),
		], ["Drop my edits", "drop"], ["Keep my edits", "keep", "primary"]);
		await this.reload({ keep: chosen !== "drop" });
	}
}

// The Problem that *source*, where a deployment's credential comes from, has because of *problem*; null where no field has it.
function refusal(source, problem) {
	const [, kind, name] = /^(secret|environment) (.+)$/.exec(source ?? "") ?? [];
	return name ? { code: "LR323", severity: "error", where: kind === "secret" ? `secrets.${name}` : source, message: "The provider refuses this key", hint: problem.hint } : null;
}
