// What an admin has to know first: on top, in the page's pill, and in the bar, until it is gone.

import { $, button, clock, count, h, say, show } from "./dom.js";
import { distinct } from "./serving.js";
import { placeOf, sentence, tell } from "./words.js";

const STATES = { initializing: "Not serving yet", live: "Live", stale: "Live, database lost", poll_only: "Live, changes come late", offline: "Stopped" };
const SHOWN = 6;
const AT_TOP = /^LR([24]|115|32[0138])/; // of what processes report
const OF_ROWS = /^LR[15]/; // of what makes a head refused, told by each process
const BESIDE = ["LR403", "LR408"]; // left out: shown as the refused head and in the list of processes, or gone in a moment

// Draws what *world* says: status, problems, left, database, lost (since when nothing is heard), newer, refused.
// *rollBack* is called with the revision to go back to.
export class Notices {
	constructor({ world, rollBack }) {
		Object.assign(this, { world, rollBack });
	}

	draw() {
		this.drawAlarm();
		this.drawProblems();
		this.drawState();
	}

	// What makes all below untrue or of no effect, as a sentence; "" for nothing.
	get outage() {
		const { lost, database, since } = this.world;
		if (lost) return `Connection lost at ${clock(lost)}: what is stored and served now is not known`;
		return database ? `Database lost at ${clock(since)}: nothing can be saved` : "";
	}

	drawAlarm() {
		const { lost, database, refused, status } = this.world, alarms = [];
		if (lost) alarms.push(h("p", { class: "notice error" }, h("b", {}, `Connection lost at ${clock(lost)}. `), "The server of this page does not answer: all below is of then. This page tries again by itself."));
		else if (database) alarms.push(h("p", { class: "notice error" }, h("b", {}, `Database lost at ${clock(this.world.since)}. `), tell(database), "Processes go on with what they have."));
		if (refused) {
			const { revision, keeps, processes, error } = refused, own = status?.last_error?.revision === revision ? status.last_error : null;
			alarms.push(h("div", { class: "notice error" }, h("b", {}, `Revision ${revision} is refused by ${count(processes, "process", "processes")}. `),
				keeps == null ? "" : `${processes === 1 ? "It goes" : "They go"} on with revision ${keeps}. `, own && `${placeOf(own.where)}: `, (own ?? error) && tell(own ?? error),
				keeps != null && !this.outage && button(`Roll back to revision ${keeps}`, () => this.rollBack(keeps), { class: "plain" })));
		}
		show($("alarm"), ...alarms);
		document.body.classList.toggle("lost", Boolean(lost));
		document.body.classList.toggle("outage", Boolean(this.outage));
	}

	// The Problems that are shown neither beside a field nor beside a process.
	drawProblems() {
		const { left, problems, newer } = this.world;
		const ofProcesses = distinct(problems).filter(({ code }) => AT_TOP.test(code) && !BESIDE.includes(code));
		const alike = Object.values(Object.groupBy([...left, ...ofProcesses], ({ code, hint }) => code + hint));
		const notices = alike.slice(0, SHOWN).map(([problem, ...more]) => h("p", { class: `notice ${problem.severity}` },
			problem.where && h("b", {}, placeOf(problem.where), more.length > 0 && ` and ${more.length} more`, ": "), tell(problem)));
		if (alike.length > SHOWN) notices.push(h("p", { class: "quiet" }, `and ${alike.length - SHOWN} more`));
		if (newer) notices.unshift(h("p", { class: "notice info" }, `Revision ${newer} was saved meanwhile. Your edits are kept; when you save, you see both.`));
		show($("problems"), ...notices);
	}

	drawState() {
		const { status, lost, database, problems, refused } = this.world;
		if (!status) return;
		const state = lost ? "offline" : database && status.state === "live" ? "stale" : status.state;
		const errors = problems.filter(({ severity, code }) => severity === "error" && !BESIDE.includes(code) && !(refused && OF_ROWS.test(code)));
		const failing = new Set(errors.map(({ where }) => where)).size + (refused ? 1 : 0);
		const fails = failing > 0 && state === "live"; // never green while an error stands
		const words = fails ? `Live, ${failing} ${failing > 1 ? "things fail" : "thing fails"}` : STATES[state];
		$("state").className = `state ${fails ? "failing" : state}`;
		say($("state"), lost ? `Connection lost at ${clock(lost)}` : words + (status.revision == null ? "" : ` · revision ${status.revision}`));
		say($("database"), status.database);
		say($("version"), status.version);
	}
}

export const failure = (error) => (error.problems ?? [{ message: String(error.message ?? error) }]).map((problem) => sentence(tell(problem).trim())).join("");
