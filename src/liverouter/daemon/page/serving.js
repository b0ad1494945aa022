// What serves now, by model and deployment: who answered in the last minutes, what failed, since when and why.

import { $, ago, count, h, ms, s, show } from "./dom.js";
import { hintOf, sentence, told } from "./words.js";

const MINUTES = 30, WIDTH = 300, HEIGHT = 64;
const KINDS = { primary: "answered by the primary", fallback: "answered by a fallback", failure: "failed attempts" };
const HEALTH = /^LR32[0-79]$/, OF_ROWS = "LR326"; // codes
const FAILS = ["LR321", "LR323", "LR325"];
const total = (points, name) => points.reduce((sum, point) => sum + point[name], 0);

// *problems* without those that a refused key of the same deployment explains: "fails", with the same cause.
export const distinct = (problems) => problems.filter(({ code, where }) => code !== "LR321" || !problems.some((one) => one.code === "LR323" && one.where === where));

// What *problems* say of providers: [{name, deployment, ...problem}]; deployment is "" for all of a model's.
export const healthOf = (problems) => problems.filter(({ code }) => HEALTH.test(code) && code !== OF_ROWS).map((problem) => {
	const [name, ...rest] = problem.where.split(", ");
	return { ...problem, name, deployment: rest.join(", ") };
});

// Of each model that does not fare well: "failing" where no call is answered, "failover" where others answer than are asked first.
export function statesOf(health) {
	const states = Object.create(null); // a model may be called constructor
	for (const { code, name } of health) {
		if (code === "LR320") states[name] = "failing";
		else if (code === "LR321") states[name] ??= "failover";
	}
	return states;
}

export function drawServing(serving, usage, health) {
	const names = [...new Set(serving.map((one) => one.name))], states = statesOf(health), causes = distinct(health);
	const of = (list, name) => list.filter((one) => one.name === name);
	show($("serving"), ...(names.length ? [] : [h("li", {}, "Nothing yet")]),
		...names.flatMap((name) => [(names.length > 1 || states[name]) && heading(name, of(serving, name), states[name], of(causes, name)),
			...of(serving, name).map((one) => deployment(one, of(usage, name).filter((point) => point.deployment_id === one.deployment_id), of(causes, name)))]).filter(Boolean));
	drawChart(usage);
}

// Who serves the model *name*, and why nobody does.
function heading(name, deployments, state, health) {
	const isDown = (one) => one.cooling === one.processes || health.some(({ code, deployment: id }) => FAILS.includes(code) && id === one.deployment_id);
	const one = deployments.find((each) => !isDown(each)), label = one && `${one.provider}/${one.model}`;
	const words = state === "failing" ? "no call is answered" : state === "failover" ? (one ? `failed over to ${label}` : "fails") : label ?? "";
	return h("li", { class: "named", "data-model": name }, h("h3", {}, name), h("span", { class: { failing: "bad", failover: "warn" }[state] ?? "good" }, words),
		deployments[0].revision && h("small", {}, `revision ${Math.max(...deployments.map((each) => each.revision ?? 0))}`), health.filter((problem) => !problem.deployment).map((problem) => line({ ...problem, message: problem.message.replace(`${words} `, "") })));
}

function deployment(one, points, health) {
	const calls = total(points, "calls"), failures = total(points, "failures"), failovers = total(points, "failovers");
	const spent = points.reduce((sum, point) => sum + (point.latency_ms ?? 0) * point.calls, 0), answered = points.findLast((point) => point.calls > 0);
	return h("li", {}, h("p", {}, h("span", { class: "place", "aria-hidden": "true" }, one.order), h("b", {}, `${one.provider}/${one.model}`)),
		h("p", { class: "facts" }, h("span", {}, count(one.processes, "process", "processes")), h("span", {}, count(calls, "call"), calls > 0 && `, ${ms(spent / calls)}`),
			answered ? h("span", {}, "answered ", ago(answered.minute)) : one.answered_on && h("span", {}, `answered ${dayOf(one.answered_on)}`),
			failovers > 0 && h("span", { class: "warn" }, `${failovers} by failover`), failures > 0 && h("span", { class: "bad" }, count(failures, "failed attempt")),
			one.cooling > 0 && h("span", { class: "warn" }, `left alone by ${count(one.cooling, "process", "processes")}`)),
		health.filter((problem) => problem.deployment === one.deployment_id && problem.code !== "LR322").map(line));
}

// A day (UTC) in words.
function dayOf(day) {
	const days = Math.floor(Date.now() / 86400000) - Date.parse(day) / 86400000;
	return ["today", "yesterday"][days] ?? `${days} days ago`;
}

// A Problem of health, with what mends it.
const line = (problem) => h("p", { class: `health ${problem.severity}` }, told(problem.message), h("small", {}, sentence(hintOf(problem))));

function drawChart(usage) {
	const now = Math.floor(Date.now() / 60000), minutes = Array.from({ length: MINUTES }, () => ({ primary: 0, fallback: 0, failure: 0 }));
	for (const point of usage) {
		const minute = minutes[MINUTES - 1 - now + Math.floor(new Date(point.minute) / 60000)] ?? {};
		minute[point.role in KINDS ? point.role : "fallback"] += point.calls;
		minute.failure += point.failures;
	}
	const kinds = Object.keys(KINDS).filter((kind) => total(minutes, kind));
	const highest = Math.max(...minutes.map((m) => m.primary + m.fallback + m.failure));
	const label = `Calls a minute: ${kinds.map((kind) => `${total(minutes, kind)} ${KINDS[kind]}`).join(", ")}`;
	$("chart").replaceChildren(...(kinds.length ? [
		s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label, preserveAspectRatio: "none" },
			s("rect", { y: HEIGHT - 1, width: WIDTH, height: 1 }), minutes.flatMap((minute, index) => bars(minute, index, highest))),
		h("figcaption", { class: "facts" }, h("span", {}, `up to ${count(highest, "call")} a minute`), kinds.map((kind) => h("span", { class: `key ${kind}` }, KINDS[kind]))),
	] : []));
}

function bars(minute, index, highest) {
	const step = WIDTH / MINUTES;
	let top = HEIGHT - 1;
	return Object.keys(KINDS).map((kind) => {
		const height = (minute[kind] / highest) * (HEIGHT - 4);
		top -= height;
		return height > 0 && s("rect", { class: kind, x: index * step + 1, y: top, width: step - 2, height: Math.max(height, 1) });
	});
}
