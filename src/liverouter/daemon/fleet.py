"""What all processes run, watched while a page is open: polls the database and tells the hub what is new.

Processes report without NOTIFY, which takes a global lock at commit, so this polls: quickly while a revision is on its
way, slowly otherwise, and not at all while no page is open.
"""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ValidationError

from liverouter.daemon.models_fleet import Instance, Serving, UsagePoint
from liverouter.daemon.problem_details import UNFORESEEN, newest, problem_models
from liverouter.errors import DatabaseError
from liverouter.loops.wakeup import Wakeup
from liverouter.revision import DEFAULT_NAME
from liverouter.secrecy.redaction import brief

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from liverouter.daemon.sse import Hub
    from liverouter.errors import Problem
    from liverouter.postgres.repository import SettingsRepository

_QUICK_S: Final = 0.1
_SLOW_S: Final = 2.0
_QUICK_FOR_S: Final = 15.0  # after a new revision; a process that takes longer is seen at the slow pace
USAGE_MINUTES: Final = 30
_USAGE_EVERY_S: Final = 10.0  # as often as processes report
_ANSWERS_DAYS: Final = 14
_ANSWERS_EVERY_S: Final = 60.0

Row = dict[str, Any]


class Fleet:
    """Reads the SQL views for one event loop and shapes them for the API."""

    def __init__(self, repository: SettingsRepository) -> None:
        """Read through *repository*."""
        self._repository = repository
        self._answers: dict[tuple[str, str], Any] = {}  # name, deployment -> the day on which it answered last
        self._answers_at = -_ANSWERS_EVERY_S  # monotonic seconds

    async def instances(self, head: Row) -> list[Row]:
        """Return every process, with the milliseconds it took from commit to live where it runs *head*'s revision."""
        return _shaped(Instance, (_instance(row, head) for row in await self._repository.instances()))

    async def serving(self) -> list[Row]:
        """Return each deployment that serves anywhere: on how many processes, on how many it cools."""
        answers = await self._last_answers()
        rows = _by_deployment(await self._repository.active_config())
        for row in rows:
            row["answered_on"] = answers.get((row["name"], row["deployment_id"]))
        return _shaped(Serving, rows)

    async def _last_answers(self) -> dict[tuple[str, str], Any]:
        """Return when deployments answered last, a minute old at most; what cannot be read in time is not known."""
        if time.monotonic() - self._answers_at >= _ANSWERS_EVERY_S:
            self._answers_at = time.monotonic()
            with contextlib.suppress(DatabaseError):
                since = datetime.now(UTC).date() - timedelta(days=_ANSWERS_DAYS)
                rows = await self._repository.last_answers(since)
                self._answers = {(row["name"], row["deployment_id"]): row["day"] for row in rows}
        return self._answers

    async def problems(self) -> list[Row]:
        """Return everything that is wrong, as the database sees it."""
        return [problem.model_dump() for problem in problem_models(await self._repository.problems())]

    async def rollout(self, revision: int) -> Row | None:
        """Return how *revision* came to the processes, None where the history does not hold it."""
        rows = await self._repository.rollout(limit=1000)
        return next((row for row in rows if row["revision"] == revision), None)

    async def usage(self, minutes: int) -> list[Row]:
        """Return calls per minute and deployment over the last *minutes*, all processes together, oldest first."""
        since = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=minutes - 1)
        rows = _shaped(UsagePoint, await self._repository.usage_totals(since))
        return sorted(rows, key=lambda row: (row["minute"], row["role"] != "primary", row["deployment_id"]))

    async def usage_if_read(self) -> list[Row]:
        """Return `usage` of the last USAGE_MINUTES, nothing where it cannot be read in time.

        So a login that fills the table hides neither processes nor problems from a page.
        """
        try:
            return await self.usage(USAGE_MINUTES)
        except DatabaseError:
            return []

    async def head(self) -> Row:
        """Return the newest row of view `rollout`: the head revision, and how it comes to the processes.

        Raises:
            DatabaseError: it cannot be read, or the history is empty.
        """
        return newest(await self._repository.rollout(limit=1))


class Watch:
    """Tells the hub what changed in the fleet since it was last told."""

    def __init__(
        self,
        *,
        fleet: Fleet,
        hub: Hub,
        report: Callable[[str], None],
        own_database: Callable[[], Problem | None] = lambda: None,
    ) -> None:
        """Read nothing before `run`.

        Args:
            fleet: is asked.
            hub: is told.
            report: is told of an error that nobody foresaw, once for those in a row.
            own_database: as of `Context`; what it returns is told in place of a look.
        """
        self._fleet, self._hub, self._report, self._own_database = fleet, hub, report, own_database
        self._failing = False
        self._woken = Wakeup()
        # Monotonic times in seconds: until when to look quickly, when problems and usage were last read.
        self._quick_until = self._all_at = self._usage_at = -_USAGE_EVERY_S
        self._known: Row = {}  # kind of event -> the data that was last told
        self._instances: dict[str, Row | None] = {}  # instance -> its row as last told; None: to be told again

    def wake(self) -> None:
        """Look now, and quickly for _QUICK_FOR_S: a revision is on its way."""
        self._quick_until = time.monotonic() + _QUICK_FOR_S
        self._woken.set()

    def forget(self) -> None:
        """Look now, and tell everything again, whether or not it changed."""
        self._known = {}
        self._instances = dict.fromkeys(self._instances)  # names stay: who ends before the next look is told as gone
        self._all_at = self._usage_at = -_USAGE_EVERY_S
        self._woken.set()

    async def run(self) -> None:
        """Look and tell until cancelled, whatever error a look meets."""
        while True:
            await self._hub.wanted.wait()
            self._woken.clear()  # before the look: a later wake must mean a later look
            try:
                pending = await self._look()
                self._failing = False
            except Exception as exc:  # noqa: BLE001 - the top of the loop: it reports the error and goes on
                pending = False
                if not self._failing:
                    self._failing = True
                    self._report(brief(exc))
                self._tell("database", UNFORESEEN.as_dict())
            pause_s = _QUICK_S if pending and time.monotonic() < self._quick_until else _SLOW_S
            await self._woken.wait(pause_s)

    async def _look(self) -> bool:
        """Tell what is new; return whether a process is still on its way to the head revision.

        While one is, head and processes alone are read in each look, and the other views at the slow pace. A database
        that cannot be read is told as `database`.
        """
        if (down := self._own_database()) is not None:
            self._tell("database", down.as_dict())
            return False
        try:
            head = await self._fleet.head()
            if head["revision"] != self._known.get("head", head)["revision"]:
                self._quick_until = time.monotonic() + _QUICK_FOR_S
            self._tell("head", head)
            self._tell_instances(await self._fleet.instances(head))
            if not head["pending"] or time.monotonic() - self._all_at >= _SLOW_S:
                self._all_at = time.monotonic()
                self._tell("serving", await self._fleet.serving())
                self._tell("problems", await self._fleet.problems())
            if time.monotonic() - self._usage_at >= _USAGE_EVERY_S:
                self._usage_at = time.monotonic()
                self._tell("usage", await self._fleet.usage_if_read())
        except DatabaseError as exc:
            self._tell("database", exc.problem.as_dict())
            return False
        self._tell("database", None)
        return bool(head["pending"])

    def _tell(self, kind: str, data: Any) -> None:
        """Publish *data* as the event *kind* where it differs from what was last told."""
        if kind not in self._known or self._known[kind] != data:
            self._known[kind] = data
            self._hub.publish(kind, data)

    def _tell_instances(self, rows: Iterable[Row]) -> None:
        """Publish which of *rows* are new or changed by more than a heartbeat, and which processes are gone."""
        now = {row["instance"]: row for row in rows}
        former, self._instances = self._instances, {**now}
        changed = [row for name, row in now.items() if _stable(row) != _stable(former.get(name))]
        gone = [name for name in former if name not in now]
        if changed or gone:
            self._hub.publish("instances", {"changed": changed, "gone": gone})


def _stable(row: Mapping[str, Any] | None) -> Row | None:
    """Return *row* without what changes with every heartbeat; None for None."""
    return {k: v for k, v in row.items() if k not in ("heartbeat_at", "probe_age_ms")} if row is not None else None


def _shaped(shape: type[BaseModel], rows: Iterable[Row]) -> list[Row]:
    """Return *rows* with the types that *shape* promises, without those that cannot be converted."""
    good: list[Row] = []
    for row in rows:
        with contextlib.suppress(ValidationError):
            good.append(row | shape.model_validate(row).model_dump())
    return good


def _instance(row: Row, head: Row) -> Row:
    """Return *row* with labels as text and `commit_to_live_ms`.

    That is None where the process runs another revision than *head*, or was started after its commit.
    """
    took = None
    started_before = row["started_at"] is not None and row["started_at"] <= head["committed_at"]
    if row["applied_revision"] == head["revision"] and row["applied_at"] is not None and started_before:
        took = max(0.0, (row["applied_at"] - head["committed_at"]).total_seconds() * 1000)
    labels = {str(name): str(label) for name, label in (row["labels"] or {}).items()}
    return row | {"commit_to_live_ms": took, "labels": labels}


_ONE_DEPLOYMENT: Final = (
    "name",
    "deployment_id",
    "role",
    "order",
    "provider",
    "model",
    "endpoint",
    "fingerprint",
    "credential_source",
)


def _by_deployment(rows: Iterable[Row]) -> list[Row]:
    """Return one row per name and deployment of *rows*, which have one per process, too; the default first, by order.

    `processes` and `cooling` count processes; `cooling_until` is the latest time of any of them, `revision` the newest.
    """
    found: dict[tuple[str, str], Row] = {}
    start = {"processes": 0, "cooling": 0, "cooling_until": None, "revision": None}
    for row in rows:
        key = row["name"], row["deployment_id"]
        one = found.setdefault(key, {name: row[name] for name in _ONE_DEPLOYMENT} | start)
        one["processes"] += 1
        one["revision"] = max(one["revision"] or 0, row["revision"] or 0) or None
        if (until := row["cooling_until"]) is not None:
            one["cooling"] += 1
            one["cooling_until"] = max(until, one["cooling_until"] or until)
    return sorted(found.values(), key=_place)


def _place(one: Row) -> tuple[bool, str, int, str]:
    """Return what sorts deployments: the default first, then by name and order."""
    return one["name"] != DEFAULT_NAME, str(one["name"]), one["order"] or 0, str(one["deployment_id"])
