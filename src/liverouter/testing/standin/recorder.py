"""What a stand-in saw: every request, connection and disconnect, with waits instead of sleeps. Thread-safe."""

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from liverouter.testing.standin.wire import JsonObject

Kind = Literal["chat", "models", "token", "unknown"]


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request as it arrived. Its repr shows neither headers nor body.

    Attributes:
        number: counts this stand-in's requests from 1.
        kind: what the path serves.
        method: in upper case.
        path: unquoted, without the query.
        query: the last value of each parameter.
        headers: names in lower case.
        body: parsed; None where it is no JSON object.
        arrived_at: monotonic seconds.
        connection_id: counts this stand-in's connections from 1.
    """

    number: int
    kind: Kind
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str] = field(repr=False)
    body: JsonObject | None = field(repr=False)
    arrived_at: float
    connection_id: int


@dataclass(frozen=True, slots=True)
class Violation:
    """A request that the provider would not have taken: a parameter it does not know, a missing key, a wrong path.

    Attributes:
        number: that of the request.
        status: of the answer.
        message: in the provider's words.
    """

    number: int
    status: int
    message: str


class Recorder:
    """Counters and requests behind one condition."""

    def __init__(self, keep: int | None) -> None:
        """Keep the newest *keep* requests; None keeps all."""
        self._changed = threading.Condition()
        self._requests: deque[RecordedRequest] = deque(maxlen=keep)
        self._violations: deque[Violation] = deque(maxlen=keep)
        self.received = 0
        self.hits = 0
        self.accepted = 0
        self.open_connections = 0
        self.in_flight = 0
        self.held = 0
        self.disconnects = 0

    def count(self, **by: int) -> None:
        """Add to counters and wake who waits."""
        with self._changed:
            for name, amount in by.items():
                setattr(self, name, getattr(self, name) + amount)
            self._changed.notify_all()

    def add(self, request: RecordedRequest) -> None:
        """Record a request."""
        with self._changed:
            self._requests.append(request)
            self.hits += request.kind in {"chat", "unknown"}
            self._changed.notify_all()

    def next_number(self) -> int:
        """Return the next request's number."""
        with self._changed:
            self.received += 1
            return self.received

    def violated(self, violation: Violation) -> None:
        """Record a request that the provider would not have taken."""
        with self._changed:
            self._violations.append(violation)
            self._changed.notify_all()

    def forget(self) -> None:
        """Drop requests, violations, hits and disconnects; live connections stay counted."""
        with self._changed:
            self._requests.clear()
            self._violations.clear()
            self.hits = self.disconnects = 0
            self.accepted = self.open_connections
            self._changed.notify_all()

    @property
    def requests(self) -> tuple[RecordedRequest, ...]:
        """The requests, oldest first."""
        with self._changed:
            return tuple(self._requests)

    @property
    def violations(self) -> tuple[Violation, ...]:
        """The violations, oldest first."""
        with self._changed:
            return tuple(self._violations)

    def wait(self, done: Callable[[], bool], timeout_s: float) -> bool:
        """Block until *done*, asked after every change, is true; False after *timeout_s* seconds."""
        with self._changed:
            return self._changed.wait_for(done, timeout_s)
