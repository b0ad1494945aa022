// The last minutes: what each deployment did, who answered and what failed.

import { $, count, h, ms, s } from "./dom.js";

const MINUTES = 30, WIDTH = 300, HEIGHT = 64;
const KINDS = { primary: "answered by the primary", fallback: "answered by a fallback", failure: "failed attempts" };
const total = (points, name) => points.reduce((sum, point) => sum + point[name], 0);

export function drawUsage(serving, usage) {
	$("serving").replaceChildren(...(serving.length ? [] : [h("li", {}, "Nothing yet")]), ...serving.map((one) => deployment(one, usage.filter((point) => point.deployment_id === one.deployment_id))));
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

function deployment(one, points) {
	const calls = total(points, "calls"), failures = total(points, "failures"), failovers = total(points, "failovers");
	const spent = points.reduce((sum, point) => sum + (point.latency_ms ?? 0) * point.calls, 0);
	return h("li", {}, h("p", {}, h("span", { class: "place", "aria-hidden": "true" }, one.order), h("b", {}, `${one.provider}/${one.model}`)),
		h("p", { class: "facts" }, h("span", {}, count(one.processes, "process", "processes")), h("span", {}, count(calls, "call"), calls > 0 && `, ${ms(spent / calls)}`),
			failovers > 0 && h("span", { class: "warn" }, `${failovers} by failover`), failures > 0 && h("span", { class: "bad" }, count(failures, "failed attempt")),
			one.cooling > 0 && h("span", { class: "warn" }, `cooling on ${one.cooling}`)));
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
