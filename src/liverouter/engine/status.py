"""What a client says about itself, folded from events."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

from liverouter.events import (
    ClientClosed,
    ConfigApplied,
    ConfigRead,
    ConfigRejected,
    DatabaseRecovered,
    Event,
    ListenerConnected,
    ListenerDegraded,
    ListenerLost,
    ReadFailed,
)

if TYPE_CHECKING:
    from liverouter.errors import Problem

Mode = Literal["listen", "poll_only", "none"]


class State(StrEnum):
    """Where a client stands."""

    INITIALIZING = "initializing"  # no generation yet
    LIVE = "live"  # serves, hears every change at once
    STALE = "stale"  # serves the last-known-good; the database does not answer
    POLL_ONLY = "poll_only"  # serves, hears changes by polling only
    OFFLINE = "offline"  # closed


@dataclass(frozen=True, slots=True)
class LastError:
    """The newest error that still holds."""

    code: str
    message: str
    hint: str
    where: str
    revision: int | None  # of the rejected revision; None for a database error


@dataclass(frozen=True, slots=True)
class Status:
    """One client at one moment."""

    since: datetime  # UTC; when `state` became what it is
    state: State = State.INITIALIZING
    epoch: str = ""  # the database's history line, as last read
    revision: int | None = None  # applied
    applied_epoch: str = ""  # the history line that `revision` belongs to
    desired_revision: int | None = None  # the newest that was read, applied or not
    generation: int | None = None
    litellm_enable: bool | None = None
    mode: Mode = "none"
    mode_cause: str = ""  # why not "listen": pooler, standby, refused, half_open, unreachable
    rejected_revision: int | None = None
    rejected_epoch: str = ""  # the history line that `rejected_revision` belongs to
    problems: tuple[Problem, ...] = ()  # of the rejected revision, or the warnings of the applied one
    last_error: LastError | None = None
    reconnects: int = 0
    backend_pid: int | None = None  # of the listening connection
    reading: bool = False  # the last read of the settings succeeded


class StatusTracker:
    """Keeps the status of one client: the first observer of its bus, which hands it one event at a time.

    Attributes:
        current: the status now; a plain attribute, so reading it never blocks.
        decided: set once a first generation, rejection or failed read has happened, or the client was closed.
    """

    def __init__(self) -> None:
        """Start initializing."""
        self.current = Status(since=datetime.now(UTC))
        self.decided = threading.Event()

    def observe(self, event: Event) -> None:
        """Fold *event* in."""
        self.current = fold(self.current, event, datetime.now(UTC))
        if isinstance(event, ConfigApplied | ConfigRejected | ReadFailed | ClientClosed):
            self.decided.set()


def fold(status: Status, event: Event, at: datetime) -> Status:
    """Return the status after *event*, which happened *at* (UTC)."""
    new = _apply(status, event)
    if new.state is State.OFFLINE:
        state = State.OFFLINE
    elif new.generation is None:
        state = State.INITIALIZING
    elif not new.reading:
        state = State.STALE
    else:
        state = State.LIVE if new.mode == "listen" else State.POLL_ONLY
    return replace(new, state=state, since=at if state is not status.state else status.since)


def _apply(status: Status, event: Event) -> Status:  # noqa: PLR0911 - one case, one outcome
    match event:
        case ConfigRead():
            error = status.last_error
            return replace(
                status,
                epoch=event.epoch,
                desired_revision=event.revision,
                reading=True,
                last_error=error if error and error.revision is not None else None,
            )
        case ConfigApplied():
            return replace(
                status,
                revision=event.revision,
                applied_epoch=event.epoch,
                generation=event.generation,
                litellm_enable=event.litellm_enable,
                desired_revision=event.revision if event.source == "database" else status.desired_revision,
                rejected_revision=None,
                rejected_epoch="",
                problems=event.warnings,
                last_error=None if event.source == "database" else status.last_error,
            )
        case ConfigRejected():
            return replace(
                status,
                rejected_revision=event.revision,
                rejected_epoch=event.epoch,
                problems=event.problems,
                desired_revision=event.revision,
                last_error=_error(event.problems[0], event.revision),
            )
        case ReadFailed():
            keep = status.last_error is not None and status.last_error.revision is not None
            return replace(status, reading=False, last_error=status.last_error if keep else _error(event.problem, None))
        case DatabaseRecovered():
            return replace(status, reading=True)
        case ListenerConnected():
            return replace(
                status, mode="listen", mode_cause="", backend_pid=event.backend_pid, reconnects=event.reconnects
            )
        case ListenerDegraded():
            return replace(status, mode="poll_only", mode_cause=event.cause, backend_pid=None)
        case ListenerLost():
            return replace(status, mode="poll_only", mode_cause=event.cause, backend_pid=None)
        case ClientClosed():
            return replace(status, state=State.OFFLINE, mode="none", mode_cause="", backend_pid=None)
        case _:
            return status


def _error(problem: Problem, revision: int | None) -> LastError:
    return LastError(problem.code, problem.message, problem.hint, problem.where, revision)
