"""A receiver of webhooks over real HTTP, on loopback."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

from liverouter.config.draft import sealed_unless_same
from liverouter.config.settings import ALERT_WEBHOOK
from liverouter.secrecy.sealing import Keyring, Secret
from tests.kit.sql import put_secret

if TYPE_CHECKING:
    import psycopg


def seal_webhook(db: psycopg.Connection[Any], url: str, key: str) -> None:
    """Have alerts go to *url*, which is sealed with *key*."""
    stored = sealed_unless_same(None, ALERT_WEBHOOK, Secret(url), Keyring.from_text(key), origins=())
    put_secret(db, ALERT_WEBHOOK, stored.fingerprint, stored.sealed)


class Receiver:
    """Keeps what it is sent, and answers with the statuses that it was told; 200 when there are none left.

    Attributes:
        posts: the JSON bodies, in the order in which they came.
        requests: method, path and headers of each request.
        statuses: what the next answers say.
    """

    def __init__(self) -> None:
        self.posts: list[Any] = []
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.statuses: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests.append((self.command, self.path, dict(self.headers)))
                status = receiver.statuses.pop(0) if receiver.statuses else 200
                self.send_response(status)
                if status // 100 == 3:
                    self.send_header("Location", f"{receiver.url}/elsewhere")
                self.send_header("Set-Cookie", "a=b")
                self.send_header("Content-Length", "0")
                self.end_headers()
                receiver.posts.append(json.loads(body))

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
