"""Status, outcomes and usage to PostgreSQL: at once when something changed, else as a heartbeat that is a poll, too."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from liverouter.chat.profile import known_max_input_tokens
from liverouter.engine.report import applied, rejected, shortened, versions
from liverouter.errors import DatabaseError
from liverouter.events import (
    CallFailed,
    CallFailedOver,
    ClientStarted,
    ConfigApplied,
    ConfigRejected,
    DatabaseRecovered,
    DeploymentCooling,
    DeploymentRecovered,
    Event,
    ListenerConnected,
    ListenerDegraded,
    ListenerLost,
    ModelAsked,
    ReadFailed,
    ReportFailed,
    StartAdvanced,
    StartDelayed,
)
from liverouter.loops.wakeup import Wakeup
from liverouter.options import hostname

if TYPE_CHECKING:
    from liverouter.bus import Bus
    from liverouter.chat.usage import UsageCounter
    from liverouter.engine.status import StatusTracker
    from liverouter.generation import Generation, Store
    from liverouter.loops.reload_requests import ReloadRequests
    from liverouter.options import Options
    from liverouter.postgres.repository import SettingsRepository
    from liverouter.revision import Head

_MAX_OUTCOMES: Final = 100  # the newest, kept while the database does not answer
_MAX_USAGE_BYTES: Final = 400_000  # about a thousand rows; the database takes no report above 1 MB
_UNASKED_S: Final = 3600.0  # between two looks whether there is something to report, where no heartbeat is sent
_COMPLAIN_EVERY_S: Final = 60.0

_Outcome = tuple[float, dict[str, Any]]  # when it was, monotonic seconds; what `liverouter.report` takes in "applies"


@dataclass(frozen=True, slots=True, kw_only=True)
class _News:
    """What one report tells beside the heartbeat, as it was taken out of the reporter.

    Attributes:
        whole: the report has every key, and so all of the status.
        outcomes: revisions that were applied or rejected, oldest first.
        usage: rows of counts, oldest first.
        more: newer counts wait for the next report.
    """

    whole: bool
    outcomes: list[_Outcome]
    usage: list[dict[str, Any]]
    more: bool


class Reporter:
    """Tells the database what this process runs.

    `observe` collects from any thread; `run` sends from the engine's loop. Nothing here can stop a reload or a call.

    Args:
        repository: sends a report; the answer names the head.
        instance: the id of this process's client, a UUID.
        options: app, labels, and the heartbeat's interval.
        status: where the client stands.
        store: has the generation in force, whose deployments and cooldowns are in every report.
        usage: has the counts that a report drains, and that are taken back where it did not arrive.
        requests: asked for a read where the head is not the revision that was read last.
        bus: hears of reports that failed.
    """

    def __init__(
        self,
        *,
        repository: SettingsRepository,
        instance: str,
        options: Options,
        status: StatusTracker,
        store: Store,
        usage: UsageCounter,
        requests: ReloadRequests,
        bus: Bus,
    ) -> None:
        self._repository, self._instance, self._options, self._status = repository, instance, options, status
        self._store, self._usage, self._requests, self._bus = store, usage, requests, bus
        self._key = secrets.token_hex(16)  # proves that a later report is by this process
        self._collecting = threading.Lock()  # over the next two
        self._outcomes: list[_Outcome] = []
        self._whole = True
        self._changed = Wakeup()
        self._reported = asyncio.Event()
        self._sending: asyncio.Task[Head] | None = None
        self._on_its_way: _News | None = None  # what `_sending` tells, where `run` was cancelled meanwhile
        self._complained_at = -_COMPLAIN_EVERY_S
        usage.on_news = self._changed.set

    def observe(self, event: Event) -> None:
        """Take note of *event*; wakes `run` when the database should know at once."""
        outcome = None
        match event:
            case ConfigApplied(source="database"):
                outcome = applied(event)
            case ConfigRejected():
                outcome = rejected(event)
            case ClientStarted() | ConfigApplied() | ListenerConnected() | ListenerDegraded() | ListenerLost():
                pass
            case ModelAsked():
                pass  # perhaps no row configures it
            case ReadFailed() | StartAdvanced():
                with self._collecting:
                    self._whole = True  # with the next heartbeat: most often a report fails now, or a start goes on
                return
            case CallFailedOver() | DatabaseRecovered() | StartDelayed():
                pass  # earlier reports failed, or somebody may ask why it takes so long
            case CallFailed() | DeploymentCooling() | DeploymentRecovered():
                self._changed.set()  # every report tells of deployments
                return
            case _:
                return
        with self._collecting:
            if outcome is not None:
                self._outcomes = [*self._outcomes, (time.monotonic(), outcome)][-_MAX_OUTCOMES:]
            self._whole = True
        self._changed.set()

    async def run(self) -> None:
        """Report at once after each change, else at every heartbeat interval, until cancelled.

        Without a heartbeat it reports once an hour where there are calls to tell of.
        """
        while True:
            await self._report()
            await self._changed.wait(self._pause_s())
            self._changed.clear()

    def _pause_s(self) -> float:
        """Return the seconds until the next report: for the heartbeat, or sooner where failures begin to count."""
        pause_s, counts_in_s = self._options.heartbeat_interval_s or _UNASKED_S, self._usage.counts_in_s()
        return pause_s if counts_in_s is None else min(pause_s, counts_in_s)

    async def first_report(self, timeout_s: float) -> bool:
        """Return whether a report was tried within *timeout_s* seconds; no view shows this process before the first."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._reported.wait()
        return self._reported.is_set()

    async def say_goodbye(self) -> None:
        """Tell the database that this process ends, and all that it was not told yet.

        It comes behind `settle`. A DatabaseError ends it early, without a word. The caller bounds the time.
        """
        with contextlib.suppress(DatabaseError):
            while True:
                news = self._take()
                await self._repository.report(self._document(news) | {"bye": True})
                if not news.more:
                    return

    async def _report(self) -> None:
        """Send one report, and act on the answer; what did not arrive is taken back for the next.

        Raises:
            Exception: what nobody foresaw. A DatabaseError is told to the bus, once a minute at most.
        """
        news = self._take()
        if not self._options.heartbeat_interval_s and not (news.whole or news.outcomes or news.usage):
            return
        try:
            head = await self._send(news)
        except asyncio.CancelledError:
            self._on_its_way = news  # the goodbye learns whether it has arrived
            raise
        except BaseException as exc:
            self._take_back(news)
            if not isinstance(exc, DatabaseError):
                raise
            if time.monotonic() - self._complained_at >= _COMPLAIN_EVERY_S:
                self._complained_at = time.monotonic()
                self._bus.emit(ReportFailed(exc.problem))
            return
        finally:
            self._reported.set()
        if head.report_whole:
            self._whole = True
        if head.report_whole or news.more:
            self._changed.set()
        self._compare(head)

    async def _send(self, news: _News) -> Head:
        """Send the report of *news* and return the answer; a cancellation leaves it on its way, as `_sending`.

        Raises:
            Exception: it cannot be made, or did not arrive.
        """
        self._sending = asyncio.create_task(self._repository.report(self._document(news)), name="report")
        self._sending.add_done_callback(lambda sent: sent.cancelled() or sent.exception())  # somebody has looked at it
        return await asyncio.shield(self._sending)

    async def settle(self) -> None:
        """Wait for the report that was on its way when `run` was cancelled; what did not arrive is taken back.

        So what has arrived is not told twice. The caller bounds the time.
        """
        news, self._on_its_way = self._on_its_way, None
        if news is None or self._sending is None:
            return
        try:
            await self._sending
        except BaseException as exc:
            self._take_back(news)
            if not isinstance(exc, DatabaseError):
                raise

    def _compare(self, head: Head) -> None:
        """Ask for a read where the database has another revision than was read last: the heartbeat is a poll, too."""
        status = self._status.current
        if (head.epoch, head.revision) != (status.epoch, status.desired_revision):
            self._requests.request("the heartbeat saw another revision")

    def _take(self) -> _News:
        """Return what the next report is to tell; it is gone from here then."""
        with self._collecting:
            outcomes, self._outcomes = self._outcomes, []
            whole, self._whole = self._whole, False
        usage, more = self._oldest_usage()
        return _News(whole=whole, outcomes=outcomes, usage=usage, more=more)

    def _take_back(self, news: _News) -> None:
        """Put *news*, which did not arrive, back for the next report, which has every key."""
        with self._collecting:
            self._outcomes = [*news.outcomes, *self._outcomes][-_MAX_OUTCOMES:]
            self._whole = True
        self._usage.restore(news.usage)

    def _document(self, news: _News) -> dict[str, Any]:
        """Return the report of *news*, as `liverouter.report` takes it."""
        document: dict[str, Any] = {"instance": self._instance, "key": self._key}
        if news.whole:
            document |= self._everything()
        if (generation := self._store.current) is not None:  # in every report: cooldowns come and go by themselves
            document["deployments"] = self._deployments(generation)
        if news.outcomes:
            now = time.monotonic()
            document["applies"] = [{**outcome, "age_ms": (now - at) * 1000} for at, outcome in news.outcomes]
        if news.usage:
            document["usage"] = news.usage
        return document

    def _oldest_usage(self) -> tuple[list[dict[str, Any]], bool]:
        """Return as many counts as one report takes, and whether newer ones wait for the next."""
        rows, size = sorted(self._usage.drain(), key=lambda row: row["minute"]), 0
        for number, row in enumerate(rows):
            size += len(json.dumps(row))
            if size > _MAX_USAGE_BYTES and number:
                self._usage.restore(rows[number:])
                return rows[:number], True
        return rows, False

    def _everything(self) -> dict[str, Any]:
        """Return the keys of a report that a heartbeat lacks: who this process is, and all of its status."""
        status = self._status.current
        error = status.error
        return {
            "app": self._options.app,
            "labels": shortened(self._options.labels),
            "host": hostname(),
            "pid": os.getpid(),
            "versions": versions(),
            "state": str(status.state),
            "mode": status.mode,
            "mode_cause": status.mode_cause or None,
            "since": status.since.isoformat(),
            "epoch": status.applied_epoch or None,
            "applied_revision": status.revision,
            "generation": status.generation,
            "litellm_enable": status.litellm_enable,
            "rejected_revision": status.rejected_revision,
            "rejected_epoch": status.rejected_epoch or None,
            "problems": [p.as_dict() for p in status.problems],
            "last_error": None
            if error is None
            else {
                "code": error.code,
                "message": error.message,
                "hint": error.hint,
                "where": error.where,
                "revision": error.revision,
            },
            "listener": {"backend_pid": status.backend_pid, "reconnects": status.reconnects},
        }

    def _deployments(self, generation: Generation) -> list[dict[str, Any]]:
        """Return the deployments by name and order, each with what is left of its cooldown and how it goes."""
        views = [generation.named(name) for name in generation.models]
        return [
            {
                "name": d.name,
                "deployment_id": d.id,
                "role": d.role,
                "order": d.order,
                "weight": d.weight,
                "provider": d.provider,
                "model": d.model,
                "params": dict(d.params),
                "endpoint": d.endpoint,
                "credential_source": d.credential_source,
                "credential_fingerprint": d.credential_fingerprint,
                "cooling_ms": cooling_s[d.id] * 1000 if d.id in cooling_s else None,
                "max_input_tokens": known_max_input_tokens(d),
                **health[d.id],
            }
            for view in views
            for cooling_s, health in [(view.cooling_s, self._usage.health(view.name, [d.id for d in view.deployments]))]
            for d in view.deployments
        ]
