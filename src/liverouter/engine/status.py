"""What a client says about itself, folded from events."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, Literal

from liverouter.engine.starting import Step
from liverouter.errors import Problem
from liverouter.events import (
    ClientClosed,
    ClientStarted,
    ConfigApplied,
    ConfigRead,
    ConfigRejected,
    DatabaseRecovered,
    Event,
    ListenerConnected,
    ListenerDegraded,
    ListenerLost,
    LoopFailed,
    ModelAsked,
    ReadFailed,
    StartAdvanced,
)

_UNCONFIGURED: Final = "LR115"
Mode = Literal["listen", "poll_only", "none"]


class State(StrEnum):
    """Where a client stands.

    Attributes:
        INITIALIZING: no generation yet.
        LIVE: serves, and hears of every change at once.
        STALE: serves the last-known-good; the database does not answer.
        POLL_ONLY: serves, and hears of changes by polling only.
        OFFLINE: closed.
    """

    INITIALIZING = "initializing"
    LIVE = "live"
    STALE = "stale"
    POLL_ONLY = "poll_only"
    OFFLINE = "offline"


@dataclass(frozen=True, slots=True)
class LastError:
    """The newest error that still holds.

    Attributes:
        revision: the rejected one; None for a database error.
    """

    code: str
    message: str
    hint: str
    where: str
    revision: int | None


@dataclass(frozen=True, slots=True)
class Status:
    """One client at one moment.

    Attributes:
        since: when `state` became what it is; UTC.
        epoch: the database's line of history, as it was read last.
        revision: the one in force; None while there is none.
        applied_epoch: the line of history that `revision` belongs to.
        desired_revision: the newest that was read, applied or not.
        generation: the number of the one in force.
        litellm_enable: what the revision in force says.
        mode: how changes are heard of.
        mode_cause: why that is not "listen": pooler, standby, refused, half_open, unreachable, redis.
        rejected_revision: the one that was rejected since the last was applied.
        rejected_epoch: the line of history that `rejected_revision` belongs to.
        problems: of the rejected revision, or the warnings of the one in force; and that the application asks for a
            named model that the one in force does not have.
        names: of the named models in force.
        asked: the named models that the application asked for, each with the app's name.
        reconnects: how often the listening connection was made anew.
        backend_pid: of the listening connection; None while there is none.
        reading: the last read of the settings succeeded.
        step: what the first generation waits for; None where there is one, the client does not run, or somebody
            has to mend the settings.
        step_since: when `step` began; UTC.
    """

    since: datetime
    state: State = State.INITIALIZING
    epoch: str = ""
    revision: int | None = None
    applied_epoch: str = ""
    desired_revision: int | None = None
    generation: int | None = None
    litellm_enable: bool | None = None
    mode: Mode = "none"
    mode_cause: str = ""
    rejected_revision: int | None = None
    rejected_epoch: str = ""
    problems: tuple[Problem, ...] = ()
    names: tuple[str, ...] = ()
    asked: tuple[tuple[str, str], ...] = ()
    last_error: LastError | None = None
    reconnects: int = 0
    backend_pid: int | None = None
    reading: bool = False
    step: Step | None = None
    step_since: datetime | None = None

    @property
    def refused(self) -> bool:
        """Tell whether nothing is in force, and nothing will be before somebody mends what was rejected."""
        return self.generation is None and self.step is None and self.rejected_revision is not None

    @property
    def waiting_for(self) -> str:
        """Return `step` as "importing litellm, since 41 s"; empty where there is none."""
        if self.step is None or self.step_since is None:
            return ""
        return f"{self.step}, since {max(0.0, (datetime.now(UTC) - self.step_since).total_seconds()):.0f} s"

    @property
    def error(self) -> LastError | None:
        """Return `last_error`; where nothing is wrong and nothing is in force, what that waits for (LR401)."""
        if self.last_error is None and self.step is not None:
            message = f"no config is live yet, waiting for: {self.step}"
            return LastError("LR401", message, self.step.hint, "client", None)
        return self.last_error


class StatusTracker:
    """Keeps the status of one client. It observes the client's bus, which hands it one event at a time.

    Attributes:
        current: the status now; a plain attribute, so reading it never blocks.
    """

    def __init__(self) -> None:
        """Start initializing."""
        self.current = Status(since=datetime.now(UTC))

    def observe(self, event: Event) -> None:
        """Fold *event* in."""
        self.current = fold(self.current, event, datetime.now(UTC))


def fold(status: Status, event: Event, at: datetime) -> Status:
    """Return the status after *event*, which happened *at* (UTC)."""
    new = replace(_apply(status, event), step=_step_after(status, event))
    if isinstance(event, ConfigApplied | ConfigRejected | ModelAsked):
        new = replace(new, problems=(*(p for p in new.problems if p.code != _UNCONFIGURED), *_unconfigured(new)))
    if new.state is State.OFFLINE:
        state = State.OFFLINE
    elif new.generation is None:
        state = State.INITIALIZING
    elif not new.reading:
        state = State.STALE
    else:
        state = State.LIVE if new.mode == "listen" else State.POLL_ONLY
    return replace(
        new,
        state=state,
        since=at if state is not status.state else status.since,
        step_since=at if new.step is not status.step else status.step_since,
    )


def _step_after(status: Status, event: Event) -> Step | None:
    """Return what the first generation waits for after *event*."""
    match event:
        case ClientStarted():
            return Step.READING
        case StartAdvanced():
            return event.step
        case LoopFailed(loop="reloader") if status.step is not None:
            return Step.READING
        case ConfigApplied() | ClientClosed():
            return None
        case _:
            return status.step


def _apply(status: Status, event: Event) -> Status:  # noqa: C901, PLR0911 - one case, one outcome
    """Return *status* with what *event* says, but for `state`, `since` and the step.

    A rejection's error holds until a revision of the database is applied, a database's error until the next read.
    """
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
                names=event.named_models,
                last_error=None if event.source == "database" else status.last_error,
            )
        case ConfigRejected():
            return replace(
                status,
                rejected_revision=event.revision,
                rejected_epoch=event.epoch,
                problems=event.problems,
                desired_revision=event.revision,
                last_error=_last_error(event.problems[0], event.revision),
            )
        case ModelAsked():
            return replace(status, asked=(*status.asked, (event.model, event.app)))
        case ReadFailed():
            keep = status.last_error is not None and status.last_error.revision is not None
            return replace(
                status, reading=False, last_error=status.last_error if keep else _last_error(event.problem, None)
            )
        case DatabaseRecovered():
            return replace(status, reading=True)
        case ListenerConnected():
            return replace(
                status, mode="listen", mode_cause="", backend_pid=event.backend_pid or None, reconnects=event.reconnects
            )
        case ListenerDegraded():
            return replace(status, mode="poll_only", mode_cause=event.cause, backend_pid=None)
        case ListenerLost():
            return replace(status, mode="poll_only", mode_cause=event.cause, backend_pid=None)
        case ClientClosed():
            return replace(status, state=State.OFFLINE, mode="none", mode_cause="", backend_pid=None)
        case _:
            return status


def _unconfigured(status: Status) -> list[Problem]:
    """Return which of the named models that were asked for no row configures, as far as anything is in force."""
    return [
        Problem(
            _UNCONFIGURED,
            f"the app '{app}' asks for the model '{name}', which no row configures: it has what the default has",
            f"settings.llm:{name}",
            f"""Configure it: liverouter set llm:{name}='{{"provider": "…", "model": "…"}}'; or ask for another""",
            "info",
        )
        for name, app in status.asked
        if status.generation is not None and name not in status.names
    ]


def _last_error(problem: Problem, revision: int | None) -> LastError:
    return LastError(problem.code, problem.message, problem.hint, problem.where, revision)
