"""What every fault test needs: a client that follows an admin, and callers who never stop calling."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from liverouter import LiveRouter, State
from liverouter.events import ConfigApplied, Event, Observer
from liverouter.testing.events import EventLog
from tests.kit.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from liverouter.chat.model import LiveChatModel
    from liverouter.engine.status import LastError, Status
    from tests.kit.admin import Admin

QUICK: Final[dict[str, Any]] = {
    "poll_interval_s": 1.0,
    "probe_interval_s": 0.5,
    "heartbeat_interval_s": 0.5,
    "gc_freeze": False,  # many clients live and die in this process
}
# While notifications arrive, nothing else helps; and no probe is missed on a busy machine.
UNPOLLED: Final[dict[str, Any]] = {"poll_interval_s": 60.0, "heartbeat_interval_s": 30.0, "probe_interval_s": 60.0}


@dataclass(frozen=True, slots=True)
class Call:
    """One answered call: when, in monotonic seconds, which model the provider served, which revision it names."""

    at: float
    model: str
    revision: int


class Load:
    """Threads that call a model for ever, and remember every answer and failure; *count* is that of the answers."""

    def __init__(
        self, model: LiveChatModel, *, threads: int = 2, pause_s: float = 0.2, keep: int | None = None
    ) -> None:
        """Start calling, each thread *pause_s* seconds after its last answer; remember the newest *keep* answers."""
        self._model, self._pause_s = model, pause_s
        self._ended = threading.Event()
        self._counting = threading.Lock()
        self.count = 0
        self.calls: deque[Call] = deque(maxlen=keep)
        self.failures: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run, name=f"caller-{n}", daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while not self._ended.wait(self._pause_s):
            try:
                answer = self._model.invoke("hi")
            except Exception as exc:  # noqa: BLE001 - what a caller of ours would see is the finding
                self.failures.append(exc)
                continue
            served = answer.response_metadata["liverouter"]
            model = str(answer.content).partition(" says")[0]
            with self._counting:
                self.count += 1
                self.calls.append(Call(time.monotonic(), model, served["revision"]))

    def go_on(self, count: int = 6, timeout_s: float = 60.0) -> None:
        """Wait until *count* further calls were answered; fail where one failed."""
        before = self.count
        until(lambda: self.failures or self.count >= before + count, timeout_s, f"{count} more calls")
        assert not self.failures, self.failures[0]

    def serve(self, model: str, timeout_s: float = 60.0) -> None:
        """Wait until calls that begin now are answered by *model*."""
        until(lambda: self.calls and self.calls[-1].model == model, timeout_s, f"answers of {model}")

    def stop(self) -> None:
        """End the threads."""
        self._ended.set()
        for thread in self._threads:
            thread.join(60)


class Follower:
    """A client with callers; leaving it checks what must hold after every fault."""

    def __init__(
        self,
        admin: Admin,
        dsn: str | Callable[[], str] = "",
        *,
        threads: int = 2,
        observers: tuple[Observer, ...] = (),
        **options: Any,
    ) -> None:
        """Follow *dsn*, by default the admin's own; *options* are those of `LiveRouter`, over `QUICK`."""
        self._admin = admin
        self._threads = threads
        self.events = EventLog()
        self._goes_back = False
        self.live = LiveRouter(database_url=dsn or admin.dsn, observers=(*observers, self.events), **(QUICK | options))

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as running:
            running.enter_context(self.live)
            self.live.wait_ready()
            self.load = Load(self.live.chat_model(), threads=self._threads)
            running.callback(self.load.stop)
            self.load.go_on(1)
            self._running = running.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._running.close()
        if kind is None:
            self.check()

    @property
    def status(self) -> Status:
        """Where the client stands."""
        return self.live.status()

    def reports(self, timeout_s: float = 60.0, **columns: Any) -> None:
        """Wait until this client's row in `liverouter.instances_detail` has these *columns*."""
        query = f"SELECT {', '.join(columns)} FROM liverouter.instances_detail WHERE instance = %s"
        wanted = tuple(columns.values())
        until(lambda: self._admin.ask(query, self.live.client_id) == wanted, timeout_s, f"instances with {columns}")

    def applies(self, revision: int, within_s: float) -> ConfigApplied:
        """Wait until *revision* is live, at most *within_s* seconds."""
        return self.events.wait_for(ConfigApplied, revision=revision, timeout_s=within_s)

    def until_stale(self, code: str, timeout_s: float = 60.0) -> LastError:
        """Wait until the client is stale because of *code*; return that error.

        A read that was under way when the fault began may meet something else, and be told until the next one fails.
        """

        def told() -> LastError | None:
            status = self.status
            error = status.last_error
            return error if status.state is State.STALE and error is not None and error.code == code else None

        found = until(told, timeout_s, f"stale because of {code}")
        assert found is not None
        return found

    def until_status(self, timeout_s: float = 60.0, **fields: Any) -> Status:
        """Wait until the status has these *fields*."""

        def reached() -> Status | None:
            status = self.status
            return status if all(getattr(status, name) == value for name, value in fields.items()) else None

        try:
            found = until(reached, timeout_s)
        except TimeoutError as exc:
            raise TimeoutError(f"{fields} was not reached within {timeout_s:g} s: {self.status}") from exc
        assert found is not None
        return found

    def goes_back(self) -> None:
        """Expect one number to stand for several revisions: this database's history was cut."""
        self._goes_back = True

    def check(self) -> None:
        """Check that no call failed, no revision went back, and every answer was of one whole revision."""
        assert not self.load.failures, self.load.failures[0]
        assert self.load.calls
        if self._goes_back:
            return
        applied: dict[str, int] = {}
        for event in self.events.of(ConfigApplied):
            assert event.revision >= applied.get(event.epoch, 0), "revisions never go back within an epoch"
            applied[event.epoch] = event.revision
        models = self._admin.models()
        for call in self.load.calls:
            assert call.model == models[call.revision], "an answer is of one whole revision"


def names(events: list[Event]) -> list[str]:
    """Return the names of *events*."""
    return [event.name for event in events]
