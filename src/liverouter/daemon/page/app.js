// The settings page: loads, listens, checks, saves, and keeps everybody's edits.

import { ApiError, call, listen, onSignInNeeded } from "./api.js";
import { Cards } from "./cards.js";
import { $, ago, ask, count, h, keepTime, ms, say } from "./dom.js";
import { Draft } from "./draft.js";
import { place, sentence } from "./fields.js";
import { Fleet, drawServing } from "./fleet.js";
import { History, diffTable, shown } from "./history.js";
import { drawUsage } from "./usage.js";

const STATES = {
  initializing: "Not serving yet", live: "Live", stale: "Serving, database lost", poll_only: "Serving, changes arrive late", offline: "Stopped",
};
const MISSING = ["LR100", "LR102"]; // not shown before somebody asked for a check

let draft, cards, fleet, history, stopListening, checkSoon;
let asked = false; // a check or a save was asked for: from then on Problems follow each edit
const world = { serving: [], usage: [], problems: [], status: null, database: null, connected: true, own: [] };

// -- the draft ---------------------------------------------------------------------------------------------------

function edited() {
  showBar();
  document.querySelectorAll("[data-verdict]").forEach((verdict) => verdict.replaceChildren());
  clearTimeout(checkSoon);
  checkSoon = setTimeout(() => check({ live: false }).catch(() => {}), 400);
}

function showBar(text, fault = false) {
  const changed = draft.changed;
  $("save").disabled = !changed.length;
  $("discard").hidden = $("signature").hidden = !changed.length;
  $("bar").classList.toggle("dirty", changed.length > 0);
  $("bar-text").classList.toggle("fault", fault);
  say($("bar-text"), text ?? (changed.length ? `${count(changed.length, "unsaved change")}: ${changed.join(", ")}` : "Everything is saved"));
}

async function busy(buttonId, work) {
  const control = $(buttonId), before = control.textContent;
  control.setAttribute("aria-busy", "true");
  try {
    await work();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    const left = place(error.problems);
    if (error.status !== 401) showBar([...new Set([error.message, ...left.map((p) => p.message)])].map(sentence).join(" ") + hintOf(left), true);
  } finally {
    control.removeAttribute("aria-busy");
    control.textContent = before;
  }
}

const hintOf = (problems) => (problems[0]?.hint ? ` ${sentence(problems[0].hint)}` : "");

/** Check the draft; return what was found. Problems go beside their fields. */
async function check({ live }) {
  const found = await call("POST", "/api/check", { ...draft.changes(), secrets: filled(draft.secrets), live });
  if (!live && !asked) found.problems = found.problems.filter((p) => !MISSING.includes(p.code));
  world.own = place(found.problems);
  showProblems();
  if (live) showCalls(found.calls);
  return found;
}

/** The secrets that were typed in; an input that is still empty changes nothing. */
const filled = (secrets) => Object.fromEntries(Object.entries(secrets).filter(([, value]) => value !== ""));

function showCalls(calls) {
  const order = (card) => (card ? draft.fallbacks[card - 1].order ?? card + 1 : 1);
  const tried = Array.from({ length: draft.size }, (_, card) => card).sort((a, b) => order(a) - order(b));
  calls.forEach(({ duration_ms, problem }, index) => {
    const verdict = document.querySelector(`[data-verdict="${tried[index]}"]`);
    if (!verdict) return;
    verdict.className = `verdict ${problem ? "bad" : "good"}`;
    verdict.replaceChildren(...(problem ? [h("strong", {}, sentence(problem.hint)), h("p", {}, sentence(problem.message))] : [`Answered in ${ms(duration_ms)}`]));
  });
}

const checkLive = () => busy("check", async () => {
  asked = true;
  $("check").textContent = "Checking…";
  const found = await check({ live: true });
  const failed = found.calls.filter((one) => one.problem).length;
  const errors = found.problems.filter((p) => p.severity === "error").length;
  if (errors) showBar(`${count(errors, "problem")} to mend: see the marked fields`, true);
  else if (failed) showBar(`${failed} of ${count(found.calls.length, "deployment")} did not answer`, true);
  else showBar(`${count(found.calls.length, "deployment")} answered${draft.changed.length ? ", nothing is saved yet" : ""}`);
});

const save = () => busy("save", async () => {
  if (!draft.changed.length) return;
  asked = true;
  $("save").textContent = "Saving…";
  const found = await check({ live: false });
  const errors = found.problems.filter((p) => p.severity === "error");
  if (errors.length && !(await saveAnyway(errors))) {
    showBar(`Not saved: ${count(errors.length, "problem")} to mend`, true);
    document.querySelector("[aria-invalid]")?.focus();
    return;
  }
  const { settings } = draft.changes();
  const body = { settings, secrets: filled(draft.secrets), comment: $("comment").value.trim() || null, author: author() };
  try {
    const saved = await call("PUT", "/api/config", body, { "If-Match": `"${draft.base.revision}"` });
    $("comment").value = "";
    await reload({ keep: false });
    showBar(saved.changed ? `Saved as revision ${saved.revision}` : "Nothing was different from what is stored");
  } catch (error) {
    if (error.status !== 412) throw error;
    await conflict(error.body.current, error.body.changes);
  }
});

const saveAnyway = async (errors) => (await ask("Save with problems?",
  [h("p", {}, "With this config, as far as can be seen from here, processes would refuse the revision and go on with the one they have:"),
    h("ul", {}, errors.map((p) => h("li", {}, `${sentence(p.message)} `, p.hint && h("span", { class: "quiet" }, sentence(p.hint)))))],
  ["Go back", ""], ["Save anyway", "go", "danger"])) === "go";

/** Somebody else saved first: show theirs beside mine, and go on with mine on top of theirs. */
async function conflict(current, changes) {
  const mine = draft.changes();
  const keys = new Set(changes.map((change) => change.key));
  const names = [...Object.keys(mine.settings), ...Object.keys(mine.secrets)];
  const both = names.filter((name) => keys.has(name));
  const chosen = await ask(`Revision ${current.revision} came first`, [
    h("p", {}, `${current.author} saved it `, ago(current.committed_at), current.application ? ` through ${current.application}` : "", current.comment ? `: “${current.comment}”` : "."),
    diffTable(changes),
    h("h3", {}, "Your edits"),
    h("table", {}, h("tbody", {}, names.map((name) => h("tr", {}, h("th", { scope: "row" }, name),
      h("td", { class: "new" }, name in mine.settings ? shown(mine.settings[name]) : "new secret"),
      h("td", {}, both.includes(name) && h("strong", { class: "warn" }, "changed by both")))))),
    h("p", {}, both.length ? "Nothing is saved yet. If you keep your edits, yours replace theirs where both changed the same, once you save." : "The edits do not touch each other. Nothing of yours is saved yet."),
  ], ["Drop my edits", "drop"], ["Keep my edits on top", "keep", "primary"]);
  await reload({ keep: chosen !== "drop" });
}

async function reload({ keep }) {
  const config = await call("GET", "/api/config");
  if (keep) draft.rebase(config);
  else draft.load(config);
  showConfig();
}

function showConfig() {
  world.newer = null;
  cards.render();
  showBar();
  const { revision, author, committed_at, settings, can_seal, problems } = draft.base;
  $("saved").replaceChildren(revision ? `Revision ${revision} by ${author}, ` : "", revision ? ago(committed_at) : "");
  const fresh = !draft.row("llm_provider") && !settings.llm_provider;
  $("welcome").hidden = !fresh;
  if (fresh) welcome(can_seal);
  world.own = place(problems.filter((p) => !fresh || !MISSING.includes(p.code)));
  showProblems();
  history.load().catch(() => {});
}

function welcome(canSeal) {
  $("welcome").replaceChildren(
    h("h3", {}, "Set up your first model"),
    h("p", {}, "Choose a provider and a model, give its key, and save. Every process that calls ", h("code", {}, "get_chat_model()"),
      " with this database serves it a few milliseconds later, and follows each later change without a restart."),
    canSeal ? "" : h("p", { class: "fault" }, "Secrets cannot be stored: the daemon has no keyring. Make one with ", h("code", {}, "liverouter keys generate"), " and start it with ", h("code", {}, "LIVEROUTER_SECRET_KEYS"), "."));
}

// -- the world -----------------------------------------------------------------------------------------------------

function showProblems() {
  const shownAlready = new Set(world.own.map((p) => p.where));
  const fields = new Set([...document.querySelectorAll("[data-where]")].flatMap((slot) => slot.dataset.where.split("|")));
  const rest = world.problems.filter((p) => !shownAlready.has(p.where) && !fields.has(p.where) && !/^(settings|secrets)\./.test(p.where) && p.code !== "LR403");
  const processes = rest.filter((p) => !p.code.startsWith("LR1"));
  const all = [
    !world.connected && { severity: "error", message: "The daemon does not answer", hint: "This page tries again by itself", where: "" },
    world.database,
    ...world.own,
    ...processes,
  ].filter(Boolean);
  const key = JSON.stringify(all);
  if ($("problems").dataset.key === key) return;
  $("problems").dataset.key = key;
  const notices = all.slice(0, 6).map((p) => h("div", { class: `notice ${p.severity}` },
    h("p", {}, p.where && h("strong", {}, `${p.where}: `), sentence(p.message), p.hint ? ` ${sentence(p.hint)} ` : " ", p.code && h("code", {}, p.code))));
  if (all.length > 6) notices.push(h("p", { class: "quiet" }, `and ${all.length - 6} more: see SELECT * FROM liverouter.problems`));
  const theirs = world.newer && h("div", { class: "notice info" },
    h("p", {}, `Revision ${world.newer.revision} was saved meanwhile. Your edits are kept.`),
    h("button", { type: "button", onclick: () => showNewer() }, "See what changed"));
  $("problems").replaceChildren(...[theirs].filter(Boolean), ...notices);
}

async function showNewer() {
  const [[current], changes] = await Promise.all([
    call("GET", "/api/revisions?limit=1"), call("GET", `/api/diff?a=${draft.base.revision}&b=${world.newer.revision}`)]);
  world.newer = null;
  $("problems").dataset.key = "";
  await conflict(current, changes);
}

function showStatus() {
  const { status, connected, database } = world;
  if (!status) return;
  const state = connected ? (database && status.state === "live" ? "stale" : status.state) : "offline";
  $("state").className = `state ${state}`;
  say($("state"), connected ? STATES[state] + (status.revision == null ? "" : ` · revision ${status.revision}`) : "Connection lost");
  say($("database"), status.database);
  say($("version"), status.version);
}

function showUsage() {
  drawServing(world.serving, world.usage);
  drawUsage($("chart"), world.usage);
}

async function onHead(head) {
  fleet.setHead(head);
  if (head.revision === draft.base.revision) {
    if (world.newer) { world.newer = null; $("problems").dataset.key = ""; showProblems(); }
    return;
  }
  if (draft.changed.length) {
    if (!$("save").hasAttribute("aria-busy") && !$("dialog").open) { world.newer = head; $("problems").dataset.key = ""; showProblems(); }
    history.load().catch(() => {});
  } else if (!$("save").hasAttribute("aria-busy")) {
    await reload({ keep: false });
  }
}

const handlers = {
  hello: (data) => {
    world.connected = true;
    Object.assign(world, { status: data.status, database: data.database });
    fleet.self = data.status.instance;
    if (data.head) {
      Object.assign(world, { serving: data.serving, problems: data.problems, usage: data.usage });
      fleet.head = data.head;
      fleet.reset(data.instances);
      onHead(data.head);
      showUsage();
    }
    showStatus();
    showProblems();
  },
  head: onHead,
  instances: (data) => fleet.update(data),
  serving: (data) => { world.serving = data; showUsage(); },
  usage: (data) => { world.usage = data; showUsage(); },
  problems: (data) => { world.problems = data; showProblems(); },
  status: (data) => { world.status = data; showStatus(); },
  database: (data) => { world.database = data; showStatus(); showProblems(); },
  lost: () => { world.connected = false; showStatus(); showProblems(); },
};

// -- trying it -----------------------------------------------------------------------------------------------------

async function tryIt() {
  $("ask").setAttribute("aria-busy", "true");
  try {
    const said = await call("POST", "/api/try", { prompt: $("prompt").value });
    const how = said.role === "primary" && !said.failed_over ? "primary" : "fallback";
    $("answer").replaceChildren(
      h("p", { class: "said" }, said.answer),
      h("p", { class: "facts" }, h("span", { class: how }, `${said.provider}/${said.model}`), h("span", {}, said.role), h("span", {}, `revision ${said.revision}`),
        h("span", {}, ms(said.duration_ms)), said.failed_over && h("span", { class: "warn" }, `failed over, ${said.attempts} attempts`),
        said.cost_usd > 0 && h("span", {}, `$${said.cost_usd.toPrecision(2)}`)));
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    $("answer").replaceChildren(...error.problems.map((p) => h("p", { class: "fault" }, sentence(p.message), p.hint ? ` ${sentence(p.hint)}` : "")));
  } finally {
    $("ask").removeAttribute("aria-busy");
  }
}

// -- start -----------------------------------------------------------------------------------------------------------

const author = () => $("who").value.trim() || null;

async function start() {
  const [config, catalog] = await Promise.all([call("GET", "/api/config"), call("GET", "/api/providers")]);
  draft = new Draft(config);
  cards = new Cards({ draft, catalog, edited });
  fleet = new Fleet();
  history = new History({ head: () => draft.base.revision, author, rolledBack: async (revision) => { await reload({ keep: true }); showBar(`Rolled back: revision ${revision}`); } });
  $("main").hidden = false;
  $("sign-in").hidden = true;
  showConfig();
  stopListening = listen(handlers);
  loadModels();
  keepTime();
}

async function loadModels() {
  const { ready, models } = await call("GET", "/api/models").catch(() => ({ ready: false, models: {} }));
  cards.renderModels(models);
  if (!ready) setTimeout(loadModels, 2000);
}

function signIn() {
  stopListening?.();
  $("main").hidden = true;
  $("sign-in").hidden = false;
  $("token").focus();
}

async function boot() {
  const session = await call("GET", "/api/session");
  $("sign-out").hidden = !session.token_needed;
  if (session.signed_in) await start();
  else signIn();
}

$("config").addEventListener("submit", (event) => { event.preventDefault(); save(); });
$("check").addEventListener("click", checkLive);
$("discard").addEventListener("click", () => { draft.load(draft.base); asked = false; showConfig(); });
$("try").addEventListener("submit", (event) => { event.preventDefault(); tryIt(); });
$("prompt").addEventListener("keydown", (event) => { if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); $("try").requestSubmit(); } });
$("sign-in-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  say($("sign-in-error"), "");
  try {
    await call("POST", "/api/session", { token: $("token").value });
    location.reload();
  } catch (error) {
    say($("sign-in-error"), sentence(error.message) + hintOf(error.problems));
  }
});
$("who").value = localStorage.getItem("liverouter-who") ?? "";
$("who").addEventListener("input", () => localStorage.setItem("liverouter-who", $("who").value));
$("sign-out").addEventListener("click", async () => { await call("DELETE", "/api/session"); location.reload(); });
addEventListener("beforeunload", (event) => { if (draft?.changed.length) event.preventDefault(); });
onSignInNeeded(signIn);
boot().catch((error) => { $("main").hidden = false; world.connected = false; $("problems").replaceChildren(h("div", { class: "notice error" }, h("p", {}, sentence(error.message), hintOf(error.problems ?? [])))); });
