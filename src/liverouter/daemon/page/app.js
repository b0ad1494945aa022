// The settings page: loads the config, listens to the stream, and wires the other modules.

import { call, listen, read } from "./api.js";
import { $, ago, say, who } from "./dom.js";
import { Draft } from "./draft.js";
import { Fleet } from "./fleet.js";
import { History } from "./history.js";
import { Models } from "./models.js";
import { failure, Notices } from "./notices.js";
import { Saving } from "./saving.js";
import { drawServing, healthOf, statesOf } from "./serving.js";
import { TryIt } from "./tryit.js";
import { learn, tell } from "./words.js";

// What is known beside the config; lost, since: when the stream, the database was lost.
const world = { serving: [], usage: [], problems: [], left: [], database: null, since: 0, status: null, newer: null, lost: 0, refused: null };
let draft, models, saving, fleet, history, notices, tryIt;

const author = () => $("who").value.trim() || null;

async function reload({ keep }) {
	const config = await read("/api/config");
	if (keep) draft.rebase(config);
	else draft.load(config);
	showConfig();
}

function showConfig() {
	const { revision, committed_at, can_seal, problems, secrets } = draft.base, stored = Object.values(secrets).find((one) => !one.opens);
	world.newer = null;
	models.draw();
	saving.news();
	saving.show(problems);
	$("saved").replaceChildren(...(revision ? [`Revision ${revision} by ${who(draft.base)}, `, ago(committed_at)] : []));
	$("welcome").hidden = Boolean(draft.row("llm_provider"));
	$("no-keyring").hidden = can_seal;
	say($("which-keyring"), stored ? `It needs the keyring that sealed the stored keys, with key ${stored.key_id}: a new one would open none of them.` : "Whoever runs this server can make one and start it with that: the documents say how, under “Store keys”.");
	return history.load().catch(() => {});
}

function onHead(head) {
	fleet.head = head;
	onFleet();
	if (head.revision === draft.base.revision || saving.isSaving) return;
	if (!draft.changed.length) reload({ keep: true }).catch(() => {}); // keep: what is typed during the reload
	else world.newer = head.revision;
	history.load().catch(() => {});
	notices.draw();
}

function onFleet() {
	fleet.draw();
	world.refused = fleet.refused;
	notices.draw();
}

// After a save or a dialog, during which onHead held back: show what others saved meanwhile.
const idle = () => fleet?.head?.revision > draft.base.revision && onHead(fleet.head);

function take(news) {
	if (news.database && !world.database) world.since = Date.now();
	Object.assign(world, news);
	notices.draw();
	saving.news(notices.outage);
	if (news.status) tryIt.offer(news.status.deployments);
	const health = healthOf(world.problems);
	drawServing(world.serving, world.usage, health);
	models.health = statesOf(health);
	if (news.problems || news.serving) saving.markKeys(health, world.serving);
}

const handlers = {
	hello: ({ head, instances, ...rest }) => {
		fleet.self = rest.status.instance;
		take({ ...rest, lost: 0 });
		if (!head) return;
		fleet.reset(instances);
		onHead(head);
	},
	head: onHead,
	instances: (data) => {
		fleet.update(data);
		onFleet();
	},
	...Object.fromEntries(["serving", "usage", "problems", "status", "database"].map((name) => [name, (data) => take({ [name]: data })])),
	lost: (heard) => take({ lost: world.lost || heard }),
};

async function loadModels() {
	const { models: names } = await call("GET", "/api/models").catch(() => ({ models: {} }));
	models.suggest(names);
}

async function start() {
	const [config, catalog, session] = await Promise.all(["config", "providers", "session"].map((name) => call("GET", `/api/${name}`)));
	learn(catalog);
	$("sign-out").hidden = !session.token_needed;
	$("main").hidden = false;
	draft = new Draft(config);
	saving = new Saving({ draft, author, reload, idle, left: (left) => { world.left = left; notices.draw(); } });
	models = saving.models = new Models({ draft, catalog, edited: () => saving.edited() });
	fleet = new Fleet();
	tryIt = new TryIt();
	history = new History({
		author, rolledBack: async (revision) => { await reload({ keep: true }); saving.bar(`Rolled back: revision ${revision}`); }, failed: (error) => saving.failed(error),
	});
	notices = new Notices({ world, rollBack: (revision) => history.rollBack(revision).catch((error) => saving.failed(error)) });
	showConfig().then(() => history.follow());
	listen(handlers);
	loadModels();
}

const begin = () => start().catch((error) => {
	if (error.status === 401) return;
	$("main").hidden = false;
	say($("problems"), failure(error));
	$("problems").className = "stack notice error";
	setTimeout(() => {
		$("problems").className = "stack";
		begin();
	}, 2000);
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

// Follow the address: sign in with the token that `liverouter serve` prints in it, behind the #, which no browser sends;
// or open the revision that it names.
function enter() {
	const [, token] = /^#token=(.+)/.exec(location.hash) ?? [];
	if (!token) return draft ? history.follow().catch((error) => saving.failed(error)) : begin();
	window.history.replaceState(null, "", "/");
	return signIn(token);
}

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
