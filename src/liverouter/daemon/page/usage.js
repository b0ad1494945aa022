// The last minutes as stacked bars: who answered, and what failed.

import { count, h, s } from "./dom.js";

const MINUTES = 30, WIDTH = 300, HEIGHT = 64, GAP = 2;
const KINDS = [["primary", "answered by the primary"], ["fallback", "answered by a fallback"], ["failure", "failed attempts"]];

/** Draw *points*, as GET /api/usage gives them, into the figure *element*. */
export function drawUsage(element, points) {
  const now = Math.floor(Date.now() / 60000);
  const minutes = Array.from({ length: MINUTES }, () => ({ primary: 0, fallback: 0, failure: 0 }));
  for (const point of points) {
    const minute = minutes[MINUTES - 1 - (now - Math.floor(new Date(point.minute) / 60000))];
    if (!minute) continue;
    minute[point.role === "primary" ? "primary" : "fallback"] += point.calls;
    minute.failure += point.failures;
  }
  const totals = Object.fromEntries(KINDS.map(([kind]) => [kind, minutes.reduce((sum, m) => sum + m[kind], 0)]));
  element.hidden = !Object.values(totals).some(Boolean);
  if (element.hidden) return;
  const highest = Math.max(...minutes.map((m) => m.primary + m.fallback + m.failure));
  const summary = `Calls per minute, last ${MINUTES} minutes: ${KINDS.map(([kind, text]) => `${totals[kind]} ${text}`).join(", ")}`;
  element.replaceChildren(
    s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": summary, preserveAspectRatio: "none" },
      s("line", { x1: 0, x2: WIDTH, y1: HEIGHT - 0.5, y2: HEIGHT - 0.5, class: "axis" }),
      minutes.flatMap((minute, index) => bars(minute, index, highest))),
    h("figcaption", {},
      h("span", {}, `up to ${count(highest, "call")} a minute`),
      KINDS.filter(([kind]) => totals[kind]).map(([kind, text]) => h("span", { class: `key ${kind}` }, text))));
}

function bars(minute, index, highest) {
  const step = WIDTH / MINUTES;
  let top = HEIGHT - 1;
  return KINDS.map(([kind]) => {
    const height = (minute[kind] / highest) * (HEIGHT - 6);
    top -= height;
    return height > 0 && s("rect", { class: kind, x: index * step + GAP / 2, y: top, width: step - GAP, height: Math.max(height, 1), rx: 1 });
  });
}
