"""What every stand-in of this process was sent: nothing its provider does not know, no secret of another provider.

A stand-in refuses what its provider would not take, and says so in its violations; here they fail the test in which
they happen, whether it looks at them or not. Tests of the stand-ins themselves send wrong requests on purpose.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from liverouter.revision import Snapshot
from liverouter.testing.standin.recorder import Recorder, Violation
from liverouter.testing.standin.responder import Responder

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pytest

    from liverouter.testing.standin.wire import Incoming

_SHORTEST: Final = 12  # characters; shorter ones are words that tests use for other things as well
_UNAUTHORIZED: Final = 401  # a wrong key is no wrong request
_GOOGLES: Final = "ya29."  # begins every access token of Google's, and of its stand-in
_HTTP: Final = frozenset(
    {"accept", "accept-encoding", "connection", "content-length", "content-type", "host", "user-agent"}
)
_LIBRARIES: Final = ("x-stainless-", "x-goog-api-client")  # in which OpenAI's, Anthropic's and Google's name themselves
# What each provider may be sent beside HTTP's own headers.
HEADERS: Final[Mapping[str, frozenset[str]]] = {
    "anthropic": frozenset({"anthropic-beta", "anthropic-version", "authorization", "traceparent", "x-api-key"}),
    "azure-openai": frozenset({"api-key", "authorization"}),
    "openai": frozenset({"authorization"}),
    "openai-compatible": frozenset({"authorization", "http-referer", "x-title"}),  # litellm names itself to OpenRouter
    "snowflake-cortex": frozenset(
        {"anthropic-beta", "anthropic-version", "authorization", "x-snowflake-authorization-token-type"}
    ),
    "vertex-ai": frozenset(
        {
            *("anthropic-beta", "anthropic-version", "authorization", "x-api-key", "x-goog-api-key"),
            *("x-goog-user-project", "x-server-timeout"),
        }
    ),
}
QUERIES: Final[Mapping[str, frozenset[str]]] = {
    "anthropic": frozenset({"beta"}),
    "azure-openai": frozenset({"api-version"}),
    "vertex-ai": frozenset({"alt"}),
}


class Wiretap:
    """The findings since the last look, in everything that reached a stand-in."""

    def __init__(self) -> None:
        self.requests = 0
        # By provider: what only that one may be sent.
        self._secrets: dict[str, set[str]] = {"vertex-ai": {_GOOGLES}}
        self._found: list[str] = []

    def take(self) -> list[str]:
        """Return what was wrong since the last time, one line each, without any secret."""
        found, self._found = self._found, []
        return found

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        """See every snapshot and every request from now on, until *patch* is undone."""
        patch.setattr(Snapshot, "__init__", self._seeing_snapshots(Snapshot.__init__))
        patch.setattr(Recorder, "violated", self._seeing_violations(Recorder.violated))
        patch.setattr(Responder, "_record", self._seeing_requests(Responder._record))  # noqa: SLF001 - the raw request

    def note(self, provider: str, *secrets: str) -> None:
        """Have every request to other providers searched for *secrets*."""
        held = self._secrets.setdefault(provider, set())
        held |= {part for secret in secrets for part in _parts(secret) if len(part) >= _SHORTEST}

    def _seeing_snapshots(self, original: Any) -> Any:
        def init(snapshot: Snapshot, *arguments: Any, **named: Any) -> None:
            original(snapshot, *arguments, **named)
            for deployment in snapshot.deployments:
                if deployment.provider not in HEADERS:
                    continue  # by litellm, whose stand-ins are those of others
                self.note(deployment.provider, *(secret.reveal() for secret in deployment.secrets.values()))

        return init

    def _seeing_violations(self, original: Any) -> Any:
        def violated(recorder: Recorder, violation: Violation) -> None:
            original(recorder, violation)
            if violation.status != _UNAUTHORIZED:
                self._found.append(f"refused with {violation.status}: {violation.message}")

        return violated

    def _seeing_requests(self, original: Any) -> Any:
        def record(responder: Responder, number: int, request: Incoming, *arguments: Any) -> None:
            self.requests += 1
            self._inspect(responder._provider.name, request)  # noqa: SLF001 - whose request it is
            original(responder, number, request, *arguments)

        return record

    def _inspect(self, provider: str, request: Incoming) -> None:
        """Note strange headers, strange query parameters, and secrets that are another provider's and not its own."""
        where = f"{provider} {request.method} {request.path}"
        names = {name for name in request.headers if not name.startswith(_LIBRARIES)} - _HTTP - HEADERS[provider]
        self._found += [f"{where}: header {name}" for name in sorted(names)]
        queries = request.query.keys() - QUERIES.get(provider, frozenset())
        self._found += [f"{where}: query {name}" for name in sorted(queries)]
        text = (
            f"{request.path} {dict(request.query)} {dict(request.headers)} {request.content.decode(errors='replace')}"
        )
        own = self._secrets.get(provider, set())
        for secret in sorted(own, key=len, reverse=True):
            text = text.replace(secret, "")
        self._found += [
            f"{where}: a secret of {other}"
            for other, secrets in tuple(self._secrets.items())  # to which other threads may add meanwhile
            if other != provider and any(secret in text for secret in secrets - own)
        ]


def _parts(secret: str) -> list[str]:
    """Return what of a secret others must not see: it whole, or of a service account its private key, line by line."""
    if not secret.startswith("{"):
        return [secret]
    return [line for line in json.loads(secret).get("private_key", "").splitlines() if not line.startswith("-----")]


WIRETAP: Final = Wiretap()  # one per process, as the tests run one after another
