// The daemon's API: calls that throw its problem details, and its stream of events.

/** A refused call: `status`, and the RFC 9457 object as `body`. */
export class ApiError extends Error {
  constructor(status, body) {
    super(body.detail ?? `HTTP ${status}`);
    this.status = status;
    this.body = body;
    this.problems = body.problems ?? [{ severity: "error", code: "", where: "", message: this.message, hint: "" }];
  }
}

let signInNeeded = () => {};

/** Call *callback* whenever the daemon wants a token. */
export const onSignInNeeded = (callback) => { signInNeeded = callback; };

/** Return the JSON answer of the API, null for an empty one; ETag and the like via *headers* and `call.raw`. */
export async function call(method, path, body, headers = {}) {
  let response;
  try {
    response = await fetch(path, {
      method,
      headers: body === undefined ? headers : { "Content-Type": "application/json", ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new ApiError(0, { detail: "the daemon does not answer", hint: "Is `liverouter serve` running?" });
  }
  const answer = response.status === 204 ? null : await response.json().catch(() => ({}));
  if (response.ok) return answer;
  if (response.status === 401 && !path.endsWith("/session")) signInNeeded();
  throw new ApiError(response.status, answer ?? {});
}

/** Listen to the daemon for ever: *handlers* by event name, and `lost` when the connection broke. */
export function listen(handlers) {
  let source;
  const open = () => {
    source = new EventSource("/api/events");
    for (const [name, handle] of Object.entries(handlers)) {
      if (name !== "lost") source.addEventListener(name, (event) => handle(JSON.parse(event.data)));
    }
    source.onerror = () => {
      handlers.lost();
      if (source.readyState !== EventSource.CLOSED) return; // it connects again by itself
      setTimeout(() => call("GET", "/api/status").then(open, (error) => error.status === 401 || open()), 2000);
    };
  };
  open();
  return () => source.close();
}
