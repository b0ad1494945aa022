// The daemon's API: calls that throw its problem details, and its streams of events.

// A refused call: its HTTP status, its RFC 9457 object, and the Problems in it.
export class ApiError extends Error {
	constructor(status, body) {
		super(body.detail ?? `HTTP ${status}`);
		Object.assign(this, { status, body, problems: body.problems ?? [{ severity: "error", where: "", message: this.message, hint: body.hint }] });
	}
}

const SILENT_MS = 40000; // the stream says something every 15 seconds
let signIns = 0;

// Send a request; resolve with its response. Throws an ApiError where none comes, or it is refused.
async function send(method, path, body, headers, signal) {
	const before = signIns;
	if (body !== undefined) headers["Content-Type"] = "application/json";
	const response = await fetch(path, { method, headers, signal, body: JSON.stringify(body) }).catch(() => {
		throw new ApiError(0, { detail: "the server of this page does not answer", hint: "Is it running, and is the network there?" });
	});
	if (path === "/api/session") signIns += method === "POST" && response.ok;
	else if (response.status === 401 && before === signIns) dispatchEvent(new Event("signed-out"));
	if (response.ok) return response;
	throw new ApiError(response.status, await response.json().catch(() => ({})));
}

// Call the API; resolve with its JSON, null for an answer without a body. Throws an ApiError for every other outcome.
export async function call(method, path, body, headers = {}) {
	const response = await send(method, path, body, headers);
	return response.status === 204 ? null : response.json().catch(() => ({}));
}

// POST, and yield [event, data] of the stream that is answered. Throws an ApiError where it breaks off.
export async function* stream(path, body, signal) {
	const response = await send("POST", path, body, {}, signal);
	const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
	let text = "";
	for (;;) {
		const { value, done } = await reader.read().catch(() => {
			throw new ApiError(0, { detail: "the answer broke off" });
		});
		if (done) return;
		const events = (text + value).split("\n\n");
		text = events.pop();
		for (const event of events) {
			const [, kind, data] = /^event: (.*)\ndata: (.*)$/.exec(event);
			yield [kind, JSON.parse(data)];
		}
	}
}

const last = {};

// GET *path* after the answers to earlier ones, so that the newest comes last.
export const read = (path) => (last[path] = Promise.allSettled([last[path]]).then(() => call("GET", path)));

// Listen to /api/events until signed out: *handlers* by event, and `lost` each time the connection breaks or falls silent.
export function listen(handlers) {
	const source = new EventSource("/api/events");
	const again = () => call("GET", "/api/status").then(() => listen(handlers), (error) => error.status === 401 || listen(handlers));
	let heard = Date.now();
	const watch = setInterval(() => {
		if (Date.now() - heard < SILENT_MS) return;
		source.close();
		clearInterval(watch);
		handlers.lost(heard);
		again();
	}, 5000);
	for (const [name, handle] of Object.entries({ ...handlers, ping: () => {} })) {
		source.addEventListener(name, (event) => {
			heard = Date.now();
			handle(JSON.parse(event.data));
		});
	}
	source.onerror = () => {
		handlers.lost(heard);
		heard = Date.now(); // it connects again by itself, unless it is closed
		if (source.readyState !== EventSource.CLOSED) return;
		clearInterval(watch);
		setTimeout(again, 2000);
	};
}
