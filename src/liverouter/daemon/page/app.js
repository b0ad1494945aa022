// The settings page: loads the config, listens to the stream, and wires the other modules.

import { ApiError, call, listen, read } from "./api.js";
import { Cards } from "./cards.js";
import { $, ago, h, ms, say, tell, who } from "./dom.js";
import { Draft } from "./draft.js";
import { Fleet } from "./fleet.js";
import { History } from "./history.js";
import { Saving } from "./saving.js";
import { drawUsage } from "./usage.js";

const STATES = { initializing: "Not serving yet", live: "Live", stale: "Live, database lost", poll_only: "Live, changes come late", offline: "Stopped" };
const SHOWN = 6;
const BESIDE = ["LR403", "LR408"]; // left out at the top: shown in the list of processes, or gone in a moment
const LOST = { severity: "error", where: "", message: "the daemon does not answer", hint: "This page tries again by itself" };
const world = { serving: [], usage: [], problems: [], left: [], database: null, status: null, newer: null, lost: false };
let draft, cards, saving, fleet, history;

const author = () => $("who").value.trim() || null;

async function reload({ keep }) {
	const config = await read("/api/config");
	if (keep) draft.rebase(config);
	else draft.load(config);
	showConfig();
}

function showConfig() {
	const { revision, committed_at, can_seal, problems } = draft.base;
	world.newer = null;
	cards.draw();
	saving.bar(saving.said);
	saving.show(problems);
	$("saved").replaceChildren(...(revision ? [`Revision ${revision} by ${who(draft.base)}, `, ago(committed_at)] : []));
	$("welcome").hidden = Boolean(draft.row("llm_provider"));
	$("no-keyring").hidden = can_seal;
	history.load().catch(() => {});
}

// At the top: the Problems that are shown neither beside a field nor beside a process.
function showProblems() {
	const ofProcesses = world.problems.filter(({ code }) => /^LR([24]|32)/.test(code) && !BESIDE.includes(code));
	const all = [world.lost && LOST, world.database, ...world.left, ...ofProcesses].filter(Boolean);
	const alike = Object.values(Object.groupBy(all, ({ code, hint }) => code + hint));
	const notices = alike.slice(0, SHOWN).map(([problem, ...more]) => h("p", { class: `notice ${problem.severity}` },
		problem.where && h("b", {}, problem.where, more.length > 0 && ` and ${more.length} more`, ": "), tell(problem)));
	if (alike.length > SHOWN) notices.push(h("p", { class: "quiet" }, `and ${alike.length - SHOWN} more in liverouter.problems`));
	if (world.newer) notices.unshift(h("p", { class: "notice info" }, `Revision ${world.newer} was saved meanwhile. Your edits are kept; when you save, you see both.`));
	if ($("problems").textContent !== notices.map((notice) => notice.textContent).join("")) $("problems").replaceChildren(...notices);
}

function showStatus() {
	const { status, lost, database } = world;
	if (!status) return;
	const state = lost ? "offline" : database && status.state === "live" ? "stale" : status.state;
	const errors = new Set(world.problems.filter(({ severity }) => severity === "error").map(({ where }) => where)).size;
	const fails = errors > 0 && state === "live"; // never green while an error stands
	$("state").className = `state ${fails ? "failing" : state}`;
	const words = fails ? `Live, ${errors} ${errors > 1 ? "things fail" : "thing fails"}` : STATES[state];
	say($("state"), lost ? "Connection lost" : words + (status.revision == null ? "" : ` · revision ${status.revision}`));
	say($("database"), status.database);
	say($("version"), status.version);
}

function onHead(head) {
	fleet.head = head;
	fleet.draw();
	if (head.revision === draft.base.revision || saving.isSaving) return;
	if (!draft.changed.length) reload({ keep: true }).catch(() => {}); // keep: what is typed during the reload
	else world.newer = head.revision;
	history.load().catch(() => {});
	showProblems();
}

// After a save or a dialog, during which onHead held back: show what others saved meanwhile.
const idle = () => fleet?.head?.revision > draft.base.revision && onHead(fleet.head);

function take(news) {
	Object.assign(world, news);
	showStatus();
	showProblems();
	drawUsage(world.serving, world.usage);
}

const handlers = {
	hello: ({ head, instances, ...rest }) => {
		fleet.self = rest.status.instance;
		take({ ...rest, lost: false });
		if (!head) return;
		onHead(head);
		fleet.reset(instances);
	},
	head: onHead,
	instances: (data) => fleet.update(data),
	...Object.fromEntries(["serving", "usage", "problems", "status", "database"].map((name) => [name, (data) => take({ [name]: data })])),
	lost: () => take({ lost: true }),
};

async function tryIt(event) {
	event.preventDefault();
	if ($("ask").hasAttribute("aria-busy")) return;
	$("ask").setAttribute("aria-busy", "true");
	try {
		const said = await call("POST", "/api/try", { prompt: $("prompt").value });
		$("answer").replaceChildren(h("p", { class: "said" }, said.answer), h("p", { class: "facts" },
			h("b", { class: said.failed_over ? "warn" : "good" }, `${said.provider}/${said.model}`), h("span", {}, said.role), h("span", {}, `revision ${said.revision}`),
			h("span", {}, ms(said.duration_ms)), said.failed_over && h("span", { class: "warn" }, `failed over, ${said.attempts} attempts`),
			said.cost_usd > 0 && h("span", {}, `$${said.cost_usd.toPrecision(2)}`)));
	} catch (error) {
		if (!(error instanceof ApiError)) throw error;
		$("answer").replaceChildren(...error.problems.map((problem) => h("p", { class: "fault" }, tell(problem))));
	} finally {
		$("ask").removeAttribute("aria-busy");
	}
}

async function loadModels() {
	const { ready, models } = await call("GET", "/api/models").catch(() => ({ models: {} }));
	cards.drawModels(models);
	if (!ready) setTimeout(loadModels, 2000);
}

async function start() {
	const [config, catalog, session] = await Promise.all(["config", "providers", "session"].map((name) => call("GET", `/api/${name}`)));
	$("sign-out").hidden = !session.token_needed;
	$("main").hidden = false;
	draft = new Draft(config);
	saving = new Saving({ draft, author, reload, left: (left) => take({ left }), idle });
	cards = new Cards({ draft, catalog, edited: () => saving.edited() });
	fleet = new Fleet();
	history = new History({
		author, rolledBack: async (revision) => { await reload({ keep: true }); saving.bar(`Rolled back: revision ${revision}`); }, failed: (error) => saving.failed(error),
	});
	showConfig();
	listen(handlers);
	loadModels();
}

const begin = () => start().catch((error) => {
	if (error.status === 401) return;
	$("main").hidden = false;
	$("problems").replaceChildren(h("p", { class: "notice error" }, (error.problems ?? [error]).map(tell)));
	setTimeout(begin, 2000);
});

function showSignIn(error) {
	$("main").hidden = true;
	$("sign-in").hidden = false;
	say($("sign-in-error"), error ? tell(error.problems[0]) : "");
	$("token").focus();
}

// Trade the token for a session, and show the page; unsaved edits stay.
const signIn = (token) => call("POST", "/api/session", { token }).then(() => {
	$("sign-in").hidden = true;
	$("token").value = "";
	if (!draft) return begin();
	$("main").hidden = false;
	listen(handlers);
	reload({ keep: true }).catch((error) => saving.failed(error));
}, showSignIn);

// Sign in with the token in the address that `liverouter serve` prints: behind the #, which no browser sends.
function enter() {
	const [, token] = /^#token=(.+)/.exec(location.hash) ?? [];
	if (!token) return draft ?? begin();
	window.history.replaceState(null, "", "/");
	return signIn(token);
}

$("try").addEventListener("submit", tryIt);
$("sign-in-form").addEventListener("submit", (event) => {
	event.preventDefault();
	signIn($("token").value);
});
$("sign-out").addEventListener("click", () => call("DELETE", "/api/session").then(() => location.reload(), (error) => saving.failed(error)));
$("who").value = localStorage.getItem("liverouter-who") ?? "";
$("who").addEventListener("input", () => localStorage.setItem("liverouter-who", $("who").value));
$("dialog").addEventListener("close", idle);
addEventListener("signed-out", () => showSignIn());
addEventListener("hashchange", enter);
addEventListener("beforeunload", (event) => draft?.changed.length && event.preventDefault());
enter();
