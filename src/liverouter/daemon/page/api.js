// The daemon's API: calls that throw its problem details, and its stream of events.

// A refused call: its HTTP status, its RFC 9457 object, and the Problems in it.
export class ApiError extends Error {
	constructor(status, body) {
		super(body.detail ?? `HTTP ${status}`);
		Object.assign(this, { status, body, problems: body.problems ?? [{ severity: "error", where: "", message: this.message, hint: body.hint }] });
	}
}

let signIns = 0;

// Call the API; resolve with its JSON, null for an answer without a body. Throws an ApiError for every other outcome.
export async function call(method, path, body, headers = {}) {
	const before = signIns;
	if (body !== undefined) headers["Content-Type"] = "application/json";
	const response = await fetch(path, { method, headers, body: JSON.stringify(body) }).catch(() => {
		throw new ApiError(0, { detail: "the daemon does not answer", hint: "Is `liverouter serve` running?" });
	});
	const answer = response.status === 204 ? null : await response.json().catch(() => ({}));
	if (path === "/api/session") signIns += method === "POST" && response.ok;
	else if (response.status === 401 && before === signIns) dispatchEvent(new Event("signed-out"));
	if (response.ok) return answer;
	throw new ApiError(response.status, answer ?? {});
}

const last = {};

// GET *path* after the answers to earlier ones, so that the newest comes last.
export const read = (path) => (last[path] = Promise.allSettled([last[path]]).then(() => call("GET", path)));

// Listen to /api/events until signed out: *handlers* by event, and `lost` each time the connection breaks.
export function listen(handlers) {
	const source = new EventSource("/api/events");
	for (const [name, handle] of Object.entries(handlers)) source.addEventListener(name, (event) => handle(JSON.parse(event.data)));
	source.onerror = () => {
		handlers.lost();
		if (source.readyState !== EventSource.CLOSED) return; // it connects again by itself
		setTimeout(() => call("GET", "/api/status").then(() => listen(handlers), (error) => error.status === 401 || listen(handlers)), 2000);
	};
}
