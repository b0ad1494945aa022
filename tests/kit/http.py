"""The daemon's API over HTTP, served from a thread of the test's process: real sockets, a client of its own."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import secrets
import socket
import threading
from typing import TYPE_CHECKING, Any, Final, Self

import httpx

from liverouter import LiveRouter
from liverouter.daemon.auth import AdminToken, LoginLimiter
from liverouter.daemon.complaints import Complaints
from liverouter.daemon.context import build_context, soon
from liverouter.daemon.request_guard import Policy
from liverouter.daemon.service import Server
from tests.kit.leaks import LEDGER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from liverouter.daemon.connections import Limits

PATIENCE_S: Final = 90.0  # for an answer


class Api:
    """One served API; `with Api(dsn) as api`. It runs a client of its own, as the daemon does.

    Without *token* and *policy* it has a token of its own, and `client` sends it.

    Attributes:
        complaints: what asyncio and uvicorn complained of.
        reports: errors that nobody foresaw; there must be none at the end.
    """

    def __init__(
        self,
        dsn: str,
        *,
        secret_keys: str = "",
        token: str = "",
        policy: Policy | None = None,
        limits: Limits | None = None,
        app: str = "daemon",
    ) -> None:
        self.live = LiveRouter(database_url=dsn, secret_keys=secret_keys, app=app, heartbeat_interval_s=1)
        own = secrets.token_urlsafe(32)
        self.token = token or own
        self.headers = {} if token or policy else {"Authorization": f"Bearer {own}"}
        self._policy = policy or Policy(
            admin_token=AdminToken(self.token), login_limiter=LoginLimiter(), any_host=False
        )
        self._limits = limits
        self.complaints: list[dict[str, Any]] = []
        self.reports: list[str] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="api")

    def __enter__(self) -> Self:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.live.__enter__()
        self._thread.start()
        assert self._ready.wait(PATIENCE_S)
        hooks = {"response": [LEDGER.tell_answer]}
        self.client = httpx.Client(base_url=self.url, timeout=PATIENCE_S, event_hooks=hooks, headers=self.headers)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self._loop.call_soon_threadsafe(self._end)
        self._thread.join(PATIENCE_S)
        self.live.close()
        assert not self._thread.is_alive()
        assert self.reports == []

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._context = context = build_context(
            self.live, self._policy, lambda path, error: self.reports.append(f"{path}: {error}")
        )
        self._server = Server(context, started=self._ready.set, limits=self._limits)
        unsubscribe = self.live.subscribe(soon(self._loop, context.observe))
        watching = asyncio.create_task(context.watch.run())
        with Complaints(self).listening():
            await self._server.serve(sockets=[self._socket])
        unsubscribe()
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
        await context.repository.close()

    def _end(self) -> None:
        self._context.hub.close()
        self._server.should_exit = True

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Have the server do nothing meanwhile; what arrived it then finds all at once, however long that took."""
        held, go_on = threading.Event(), threading.Event()

        def hold() -> None:
            held.set()
            go_on.wait(PATIENCE_S)

        self._loop.call_soon_threadsafe(hold)
        assert held.wait(PATIENCE_S)
        try:
            yield
        finally:
            go_on.set()

    def publish(self, kind: str, data: Any) -> None:
        """Tell every open stream."""
        self._loop.call_soon_threadsafe(self._context.hub.publish, kind, data)

    def warning(self, event: str, **facts: Any) -> None:
        """Take a complaint, as a log does."""
        self.complaints.append({"event": event, **facts})

    # requests

    def browser(self) -> httpx.Client:
        """Return one more client, which sends no token and keeps cookies; to be closed."""
        return httpx.Client(base_url=self.url, timeout=PATIENCE_S)

    def get(self, path: str, **params: Any) -> Any:
        """Return the JSON of a GET that must succeed."""
        answer = self.client.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, **body: Any) -> Any:
        """Return the JSON of a POST that must succeed."""
        answer = self.client.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def put(self, if_match: int | str | None = "*", **body: Any) -> httpx.Response:
        """PUT a change to the config and return the answer."""
        tag = f'"{if_match}"' if isinstance(if_match, int) else if_match
        return self.client.put("/api/config", json=body, headers={} if tag is None else {"If-Match": tag})

    def save(self, **body: Any) -> int:
        """Change the config and return the revision, once this process serves it."""
        answer = self.put(**body)
        assert answer.status_code == 200, answer.text
        revision = int(answer.json()["revision"])
        assert self.live.wait_applied(revision, PATIENCE_S).revision == revision
        return revision

    @contextlib.contextmanager
    def events(self) -> Iterator[Iterator[tuple[str, Any]]]:
        """Open the stream; yields an iterator of (event, data)."""
        with self.client.stream("GET", "/api/events") as answer:
            yield parsed(answer.iter_lines())


class HTTPConnection(http.client.HTTPConnection):
    """A client that sends what it is told to, spelt as it is."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, method: str, target: str, **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
        """Return the answer and its body."""
        self.request(method, target, headers=headers)
        answer = self.getresponse()
        return answer, answer.read()


def parsed(lines: Iterator[str]) -> Iterator[tuple[str, Any]]:
    """Yield (event, data) for each server-sent event in *lines*."""
    name = ""
    for line in lines:
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)
