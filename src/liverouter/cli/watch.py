"""`watch`: tells of each change as it is committed, and of each process as it applies or rejects it."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import click

from liverouter.bus import Bus
from liverouter.cli.changes import told
from liverouter.cli.output import say, show_json, show_problems, text, who
from liverouter.cli.session import access, database_options, json_option
from liverouter.errors import DatabaseError
from liverouter.events import Event, ListenerDegraded, ListenerLost
from liverouter.loops.reload_requests import ReloadRequests

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from liverouter.cli.session import Access
    from liverouter.postgres.repository import SettingsRepository

_EAGER_S: Final = 0.1  # between two looks while a process has yet to apply or reject the head
_CALM_S: Final = 2.0  # between two looks else: reports do not notify
_MANY: Final = 1_000  # revisions that one look tells
_OF_REVISION: Final = ("revision", "committed_at", "author", "role", "application", "kind", "comment")
_STYLES: Final = {"revision": "cyan", "applied": "green", "rejected": "red", "state": "yellow"}


@click.command("watch")
@json_option
@database_options
def watch_command(*, as_json: bool, database_url: str | None) -> None:
    """Follow every change live, until Ctrl-C.

    Who changed what, and which process applied or rejected it, after how many milliseconds.

    \b
    Examples:
      liverouter watch
      liverouter watch --json | jq 'select(.event == "rejected")'
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    db = access("watch", database_url)
    with contextlib.suppress(KeyboardInterrupt):
        db.run(lambda repository: _watch(repository, db, as_json=as_json))


COMMANDS: Final = (watch_command,)


async def _watch(repository: SettingsRepository, db: Access, *, as_json: bool) -> None:
    """Print what each look finds, until cancelled; looks at once after each notification.

    Raises:
        DatabaseError: the first look fails. A later failure is told once, and waited out.
    """
    from liverouter.postgres.listener import Listener

    changes = ReloadRequests(Bus())
    listener = Listener(
        dsn=db.options.listen_dsn,
        requests=changes,
        bus=Bus(_tell_trouble),
        application_name="liverouter watch",
        probe_interval_s=db.options.probe_interval_s,
        poll_interval_s=_CALM_S,
    )
    fleet = _Fleet(repository)
    for fact in await fleet.look():
        _tell(fact, as_json=as_json)
    task = asyncio.create_task(listener.run(), name="listener")
    failing = False
    try:
        while True:
            await changes.wait(_EAGER_S if fleet.pending else _CALM_S)
            try:
                facts = await fleet.look()
            except DatabaseError as exc:
                if not failing:
                    show_problems([exc.problem], err=True)
                failing = True
                continue
            failing = False
            for fact in facts:
                _tell(fact, as_json=as_json)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@dataclass(slots=True)
class _Fleet:
    """What was seen at the last look.

    Attributes:
        revision: the head; None before the first look.
        instances: rows of view `instances`, by their ids.
        pending: a live process has yet to apply or reject the head.
    """

    repository: SettingsRepository
    revision: int | None = None
    instances: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    pending: bool = False

    async def look(self) -> list[dict[str, Any]]:
        """Return what happened since the last look, oldest first; after an error the next look tells it.

        Raises:
            DatabaseError: the database cannot be asked.
        """
        head, facts = await self._revisions()
        committed = {row["revision"]: row["committed_at"] for row in await self.repository.rollout()}
        now: dict[str, Mapping[str, Any]] = {row["instance"]: row for row in await self.repository.instances()}
        for identity, row in now.items():
            facts += _news(self.instances.get(identity), row, committed)
        self.revision, self.instances = head, now
        self.pending = head is not None and any(
            row["state"] != "offline" and head not in (row["applied_revision"], row["rejected_revision"])
            for row in now.values()
        )
        return facts

    async def _revisions(self) -> tuple[int | None, list[dict[str, Any]]]:
        """Return the head, and each revision since the last look, oldest first; at the first look the head alone.

        Of more than `_MANY` the newest are told. Where the head went back, as a restored backup does, it is told alone.
        Where the history is empty, the head is what it was.

        Raises:
            DatabaseError: the database cannot be asked.
        """
        rows, last = await self.repository.history(limit=1), self.revision
        while rows:
            head = rows[0]["revision"]
            if head == last:
                break
            known = last if last is not None and last < head else head - 1
            rows = await self.repository.history(limit=min(head - known, _MANY))
            if rows and rows[0]["revision"] == head:  # else one was committed in between: the oldest may be missing
                return head, [await self._revision(row) for row in reversed(rows) if row["revision"] > known]
        return last, []

    async def _revision(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is told of one revision; no changes where its history was pruned or holds what nobody can read.

        Raises:
            DatabaseError: the database cannot be asked.
        """
        revision = row["revision"]
        try:
            changes = await self.repository.diff(revision - 1, revision) if revision else []
        except DatabaseError as exc:
            if not _is_lasting(exc):
                raise
            changes = []
        return {"event": "revision"} | {name: row[name] for name in _OF_REVISION} | {"changes": changes}


def _is_lasting(error: DatabaseError) -> bool:
    """Tell whether a diff fails at every look: a revision is gone (LR213), or Python cannot read a value of it."""
    return error.code == "LR213" or isinstance(error.__cause__, ArithmeticError | RecursionError | ValueError)


def _news(
    before: Mapping[str, Any] | None, row: Mapping[str, Any], committed: Mapping[int, Any]
) -> Iterator[dict[str, Any]]:
    """Yield what is new of one process.

    Args:
        before: its row of view `instances` at the last look; None where it was not there.
        row: its row now.
        committed: when each of the newest revisions was committed.
    """
    who = {"app": row["app"], "host": row["host"], "pid": row["pid"], "instance": row["instance"]}
    was = before or {}
    if row["state"] != was.get("state"):
        yield {"event": "state", **who, "state": row["state"], "cause": row["mode_cause"]}
    revision = row["applied_revision"]
    if revision is not None and revision != was.get("applied_revision"):
        # A process that was not there before may have started after the commit.
        is_timed = before is not None and revision in committed and row["applied_at"]
        ms = (row["applied_at"] - committed[revision]).total_seconds() * 1000 if is_timed else None
        yield {"event": "applied", **who, "revision": revision, "ms": ms}
    refused = row["rejected_revision"]
    if refused is not None and refused != was.get("rejected_revision"):
        yield {
            "event": "rejected",
            **who,
            "revision": refused,
            "serves": revision,
            "code": row["error_code"],
            "error": row["error"],
            "hint": row["hint"],
        }


def _tell(fact: Mapping[str, Any], *, as_json: bool) -> None:
    """Print *fact* as one line of JSON, or as lines for people."""
    if as_json:
        show_json(fact, one_line=True)
        return
    first, *rest = _lines(fact)
    say(first, fg=_STYLES[fact["event"]])
    for line in rest:
        say(f"  {line}")


def _lines(fact: Mapping[str, Any]) -> list[str]:
    """Return *fact* for people: what happened, then what belongs to it."""
    process = f"{fact.get('app')} on {fact.get('host')}, pid {fact.get('pid')}"
    match fact["event"]:
        case "revision":
            through = f" through {fact['application']}" if fact["application"] else ""
            comment = f": {fact['comment']}" if fact["comment"] else ""
            head = f"revision {fact['revision']}, {text(fact['committed_at'])}, by {who(fact)}{through}{comment}"
            return [head, *(line for change in fact["changes"] for line in _change(change))]
        case "applied":
            after = "" if fact["ms"] is None else f", {fact['ms']:.0f} ms after the commit"
            return [f"{process}: serves revision {fact['revision']}{after}"]
        case "rejected":
            serves = f"goes on with {fact['serves']}" if fact["serves"] is not None else "has none to serve with"
            lines = [f"{process}: rejects revision {fact['revision']}, {serves}", f"{fact['error']} [{fact['code']}]"]
            return lines + ([f"hint: {fact['hint']}"] if fact["hint"] else [])
        case _:
            return [f"{process}: is {fact['state']}" + (f", {fact['cause']}" if fact["cause"] else "")]


def _change(change: Mapping[str, Any]) -> list[str]:
    """Return a line for each part of a setting that differs, or for a secret."""
    name = f"secret {change['key']}" if change["object"] == "secret" else change["key"]
    return [f"{key}: {text(old)} → {text(new)}" for key, old, new in told(name, change)]


def _tell_trouble(event: Event) -> None:
    """Say that notifications do not arrive, and why; changes are then found by looking."""
    if isinstance(event, ListenerLost | ListenerDegraded) and event.problem is not None:
        show_problems([event.problem], err=True)
