"""What happens in a client: a closed set of facts. Log, metrics and status interpret them; nobody else words them.

An event's name is ``noun.past_verb``; its fields are the log keys; the first line of its docstring is its row in the
reference. No field may carry a secret.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from liverouter.events.calls import (
    CallFailed as CallFailed,
    CallFailedOver as CallFailedOver,
    CallFitted as CallFitted,
    DeploymentCooling as DeploymentCooling,
    DeploymentRecovered as DeploymentRecovered,
    HistoryFitted as HistoryFitted,
    ModelAsked as ModelAsked,
    ProbeFailed as ProbeFailed,
)
from liverouter.events.event import Event as Event, Level as Level

if TYPE_CHECKING:
    from liverouter.engine.starting import Step
    from liverouter.errors import Problem

PollCause = Literal["pooler", "standby", "refused", "half_open", "unreachable", "redis"]


@dataclass(frozen=True, slots=True)
class ClientStarted(Event):
    """A client began: its engine thread runs.

    Attributes:
        database: ``host:port/name``, without user and password.
    """

    name: ClassVar[str] = "client.started"
    instance: str
    app: str
    database: str


@dataclass(frozen=True, slots=True)
class DatabaseOptionsIgnored(Event):
    """The database's URL has options that mean nothing here: another driver's, or what asyncpg cannot do."""

    name: ClassVar[str] = "database.options_ignored"
    level: ClassVar[Level] = "debug"
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ClientClosed(Event):
    """A client ended: no thread, task or socket of it is left."""

    name: ClassVar[str] = "client.closed"
    instance: str


@dataclass(frozen=True, slots=True)
class StartAdvanced(Event):
    """The first config waits for something else than before; without a step, for somebody who mends the settings."""

    name: ClassVar[str] = "start.advanced"
    level: ClassVar[Level] = "debug"
    step: Step | None


@dataclass(frozen=True, slots=True)
class StartDelayed(Event):
    """This machine's own work takes longer than `ready_timeout_s`; the start goes on, and so do those who wait."""

    name: ClassVar[str] = "start.delayed"
    level: ClassVar[Level] = "warning"
    step: Step
    duration_s: float
    hint: str


@dataclass(frozen=True, slots=True)
class ListenerConnected(Event):
    """Changes are heard of: LISTEN is in force, proved by a notification to itself, or Redis passes wake-ups on.

    Attributes:
        backend_pid: of the listening connection; 0 where that is one to Redis.
    """

    name: ClassVar[str] = "listener.connected"
    backend_pid: int
    reconnects: int = 0


@dataclass(frozen=True, slots=True)
class ListenerDegraded(Event):
    """Notifications cannot arrive on this connection; polling keeps the config fresh."""

    name: ClassVar[str] = "listener.degraded"
    level: ClassVar[Level] = "warning"
    cause: PollCause
    poll_interval_s: float
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class ListenerLost(Event):
    """The listening connection ended; the last-known-good generation serves on."""

    name: ClassVar[str] = "listener.lost"
    level: ClassVar[Level] = "warning"
    cause: str
    attempt: int
    retry_in_s: float
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class ListenerProbed(Event):
    """The listening connection answered its probe."""

    name: ClassVar[str] = "listener.probed"
    level: ClassVar[Level] = "debug"
    backend_pid: int
    duration_ms: float


@dataclass(frozen=True, slots=True)
class ReloadRequested(Event):
    """Something asks for a read: a notification, a reconnect, the poll, a signal."""

    name: ClassVar[str] = "reload.requested"
    level: ClassVar[Level] = "debug"
    reason: str


@dataclass(frozen=True, slots=True)
class ReadFailed(Event):
    """The settings could not be read; retried by itself."""

    name: ClassVar[str] = "database.read_failed"
    level: ClassVar[Level] = "warning"
    problem: Problem
    attempt: int
    retry_in_s: float


@dataclass(frozen=True, slots=True)
class DatabaseRecovered(Event):
    """Reading works again after ReadFailed."""

    name: ClassVar[str] = "database.recovered"
    attempts: int


@dataclass(frozen=True, slots=True)
class ConfigRead(Event):
    """One revision was read whole."""

    name: ClassVar[str] = "config.read"
    level: ClassVar[Level] = "debug"
    epoch: str
    revision: int
    duration_ms: float


@dataclass(frozen=True, slots=True)
class ConfigApplied(Event):
    """A generation went live.

    Attributes:
        primary: "anthropic/claude-sonnet-4-6", as is each of `fallbacks`.
        commit_to_live_ms: None where the change was in force before, was committed before this client started, or is
            of a snapshot file.
        rebuilt: False where calls go as with the former generation, whose Router and models serve on.
    """

    name: ClassVar[str] = "config.applied"
    epoch: str
    revision: int
    generation: int
    primary: str
    fallbacks: tuple[str, ...]
    litellm_enable: bool
    source: Literal["database", "snapshot_file"]
    read_ms: float
    validate_ms: float
    build_ms: float
    warm_ms: float
    commit_to_live_ms: float | None
    rebuilt: bool = True
    warnings: tuple[Problem, ...] = ()
    named_models: tuple[str, ...] = ()

    def facts(self) -> dict[str, Any]:
        """Return the log keys; warnings as sentences."""
        out = super(ConfigApplied, self).facts()
        if self.warnings:
            out["warnings"] = [str(p) for p in self.warnings]
        return out


@dataclass(frozen=True, slots=True)
class ConfigRejected(Event):
    """A revision was refused; the last-known-good generation, if any, serves on."""

    name: ClassVar[str] = "config.rejected"
    level: ClassVar[Level] = "error"
    epoch: str
    revision: int
    stage: Literal["validate", "build"]
    problems: tuple[Problem, ...]
    kept_generation: int | None


@dataclass(frozen=True, slots=True)
class GenerationRetired(Event):
    """The former generation is out of force; calls in flight on it finish."""

    name: ClassVar[str] = "generation.retired"
    level: ClassVar[Level] = "debug"
    generation: int


@dataclass(frozen=True, slots=True)
class ReportFailed(Event):
    """The process could not report to the database; retried with the next heartbeat."""

    name: ClassVar[str] = "report.failed"
    level: ClassVar[Level] = "warning"
    problem: Problem


@dataclass(frozen=True, slots=True)
class AlertSent(Event):
    """This process posted to `llm_alert_webhook` which errors `problems` gained and lost.

    Attributes:
        origin: scheme, host and port of the webhook.
        gained: how many errors; as is `lost`.
    """

    name: ClassVar[str] = "alert.sent"
    origin: str
    gained: int
    lost: int


@dataclass(frozen=True, slots=True)
class AlertFailed(Event):
    """A post to `llm_alert_webhook` failed; it is tried again, by whichever process.

    Attributes:
        origin: scheme, host and port of the webhook.
        gained: how many errors; as is `lost`.
        error: an HTTP status, or an exception class.
    """

    name: ClassVar[str] = "alert.failed"
    level: ClassVar[Level] = "warning"
    origin: str
    gained: int
    lost: int
    error: str


@dataclass(frozen=True, slots=True)
class SnapshotFileWritten(Event):
    """The last-known-good revision was sealed to disk."""

    name: ClassVar[str] = "snapshot_file.written"
    level: ClassVar[Level] = "debug"
    path: str
    revision: int


@dataclass(frozen=True, slots=True)
class SnapshotFileIgnored(Event):
    """The snapshot file cannot be used, or not be written; named and left alone."""

    name: ClassVar[str] = "snapshot_file.ignored"
    level: ClassVar[Level] = "warning"
    path: str
    problem: Problem


@dataclass(frozen=True, slots=True)
class SharedCooldownsChanged(Event):
    """Redis, which shares cooldowns between processes, answers or does not; said once each time that changes."""

    name: ClassVar[str] = "redis.changed"
    attached: bool
    problem: Problem | None = None

    @property
    def level(self) -> Level:  # type: ignore[override]  # a class variable in all others
        """Return warning where calls learn less than they could."""
        return "info" if self.attached else "warning"


@dataclass(frozen=True, slots=True)
class OwnDatabaseEnded(Event):
    """The PostgreSQL that `liverouter serve` runs is down, hangs or did not start; it is started again by itself."""

    name: ClassVar[str] = "own_database.ended"
    level: ClassVar[Level] = "warning"
    problem: Problem
    attempt: int
    retry_in_s: float


@dataclass(frozen=True, slots=True)
class OwnDatabaseRestarted(Event):
    """The PostgreSQL that `liverouter serve` runs is up again."""

    name: ClassVar[str] = "own_database.restarted"
    attempts: int


@dataclass(frozen=True, slots=True)
class LoopFailed(Event):
    """A background loop met an error nobody foresaw; it goes on.

    Attributes:
        error: exception class and masked text.
    """

    name: ClassVar[str] = "loop.failed"
    level: ClassVar[Level] = "error"
    loop: str
    error: str


Observer = Callable[[Event], None]
