"""What the suite knows of secrets, and what it was told: no text of the second holds any of the first.

Secrets are every `Secret` and keyring key that our code holds in this process, and what tests name with `hide`.
Texts are every event, every error of ours, every answer of the API, what tests leave on standard output, standard error
and in logs, and of each test's database all tables and the statements of its sessions, of some all views.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any, Final

import psycopg

from liverouter.bus import Bus
from liverouter.errors import LiveRouterError
from liverouter.secrecy.sealing import Keyring, Secret

if TYPE_CHECKING:
    from collections.abc import Sequence

    import httpx
    import pytest

    from liverouter.events import Event

_SHORTEST: Final = 12  # characters; shorter ones are words that tests use for other things as well
_TABLES: Final = """
    SELECT 'SELECT string_agg(t::text, '' '') FROM liverouter.' || quote_ident(relname) || ' t'
    FROM pg_class WHERE relnamespace = to_regnamespace('liverouter') AND relkind = ANY(%s)
    AND (relkind = 'v' OR pg_relation_size(oid) > 0)
    ORDER BY relkind, relname
"""
_STATEMENTS: Final = """
    SELECT string_agg(concat_ws(' ', application_name, query), ' ') FROM pg_stat_activity
    WHERE datname = current_database()
"""


class Ledger:
    """The secrets and texts of one test."""

    def __init__(self) -> None:
        self._secrets: set[str] = set()
        self._texts: list[tuple[str, str]] = []  # (where, text)

    def clear(self) -> None:
        """Begin a test."""
        self._secrets, self._texts = set(), []

    def hide(self, *secrets: str) -> None:
        """Have every text searched for *secrets*."""
        self._secrets |= {part for secret in secrets for part in _parts(secret) if len(part) >= _SHORTEST}

    def tell(self, where: str, text: str) -> None:
        """Have *text* searched for every secret."""
        self._texts.append((where, text))

    def leaks(self) -> list[str]:
        """Return one line for each kind of text that holds a secret, without the secret."""
        secrets, texts = tuple(self._secrets), tuple(self._texts)  # to which other threads may add meanwhile
        found = {
            where: f"{where}: …{text.replace(secret, '<SECRET>')[max(0, text.index(secret) - 100) :][:220]}…"
            for where, text in texts
            for secret in secrets
            if secret in text
        }
        return sorted(found.values())

    def tell_database(self, dsn: str, *, views: bool = True) -> None:
        """Search every table and statement of the database, where there is something to search for.

        Without *views* in a fifth of the time: what they show stands in the tables.
        """
        if not self._secrets:
            return
        try:
            with psycopg.connect(dsn, connect_timeout=5, options="-c statement_timeout=5s") as session:
                queries = [query for (query,) in session.execute(_TABLES, [["r", "v"] if views else ["r"]])]
                for (shown,) in session.execute(" UNION ALL ".join([*queries, _STATEMENTS]).encode()):
                    self.tell("the database", shown or "")
        except psycopg.OperationalError as exc:  # its test stopped it, or holds a lock
            self.tell("the database", str(exc))

    def tell_answer(self, answer: httpx.Response) -> None:
        """Have an answer of the API searched; a stream, which may never end, is left to its test."""
        if "event-stream" not in answer.headers.get("content-type", ""):
            answer.read()
            self.tell(f"{answer.request.method} {answer.request.url.path}", f"{answer.headers} {answer.text}")

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        """See every secret, keyring, event and error from now on, until *patch* is undone."""
        patch.setattr(Secret, "__init__", self._seeing_secrets(Secret.__init__))
        patch.setattr(Keyring, "__init__", self._seeing_keys(Keyring.__init__))
        patch.setattr(Bus, "emit", self._seeing_events(Bus.emit))
        patch.setattr(LiveRouterError, "__init__", self._seeing_errors(LiveRouterError.__init__))

    def _seeing_secrets(self, original: Any) -> Any:
        def init(secret: Secret, value: str) -> None:
            original(secret, value)
            if isinstance(value, str):
                self.hide(value)

        return init

    def _seeing_keys(self, original: Any) -> Any:
        def init(keyring: Keyring, keys: Sequence[bytes]) -> None:
            original(keyring, keys)
            self.hide(*(base64.b64encode(key).decode() for key in keys))
            self.hide(*(base64.urlsafe_b64encode(key).decode() for key in keys))

        return init

    def _seeing_events(self, original: Any) -> Any:
        def emit(bus: Bus, event: Event) -> None:
            self.tell(f"event {event.name}", f"{event!r} {event.facts()}")
            original(bus, event)

        return emit

    def _seeing_errors(self, original: Any) -> Any:
        def init(error: LiveRouterError, *arguments: Any, **named: Any) -> None:
            original(error, *arguments, **named)
            self.tell(f"error {error.code}", f"{error} {error!r}")

        return init


def _parts(secret: str) -> list[str]:
    """Return what of *secret* must not be seen: it whole, or of a service account its private key, line by line."""
    if "PRIVATE KEY" not in secret:
        return [secret]
    return [line for line in re.split(r"\\n|\n", secret) if re.fullmatch(r"[A-Za-z0-9+/=]{40,}", line)]


LEDGER: Final = Ledger()  # one per process, as the tests run one after another
