"""The acts of the demo. Each changes something, and ends when both workers show what that was to bring about."""

from __future__ import annotations

import asyncio
import json
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from liverouter.demo.crew import DemoError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from liverouter.demo.crew import Crew, Worker
    from liverouter.demo.screen import Screen
    from liverouter.postgres.connection import Connection
    from liverouter.testing import StandIn

KEYS: Final[Mapping[str, str]] = MappingProxyType({"openai": "demo-openai-key", "anthropic": "demo-anthropic-key"})
_FIRST_CALL_S: Final = 120.0  # for the first answer, with the import of litellm
_STEP_S: Final = 60.0  # for any later step, on a busy machine
_LOOK_S: Final = 0.02  # between two looks at the database
_CALLS_PER_ACT: Final = 6  # that each worker makes, to show that calls go on
_COOLDOWN_S: Final = 2  # instead of the default minute, which would make a long demo

_SWITCH: Final = """
BEGIN;
UPDATE liverouter.settings SET value = '"anthropic"' WHERE key = 'llm_provider';
UPDATE liverouter.settings SET value = '"claude-sonnet-4-6"' WHERE key = 'llm_model';
UPDATE liverouter.settings SET value = '{"provider": "openai", "model": "gpt-5.4"}' WHERE key = 'llm_fallback_config';
COMMIT;"""
_NAME: Final = """
UPDATE liverouter.settings SET value = '{"provider": "anthropic", "model": "claude-haiku-4-5",
    "fallbacks": {"provider": "openai", "model": "gpt-5.4-mini"}}' WHERE key = 'llm:summary';"""
_SPOIL: Final = """UPDATE liverouter.settings SET value = '"antropic"' WHERE key = 'llm_provider';"""
_MEND: Final = """UPDATE liverouter.settings SET value = '"anthropic"' WHERE key = 'llm_provider';"""
_OUTCOME: Final = """
SELECT i.app, i.applied_revision AS revision,
       round(1000 * extract(epoch FROM i.applied_at - r.committed_at), 1) AS commit_to_live_ms
FROM liverouter.instances_detail i JOIN liverouter.rollout_detail r ON r.revision = i.applied_revision;"""
_WHY: Final = """
SELECT app, applied_revision AS serves, rejected_revision AS refuses, error_code, hint, error
FROM liverouter.instances;"""


class Story:
    """Plays the acts, in order.

    Args:
        connection: to the database, as its superuser.
        crew: the workers; started before `play`.
        screen: what it tells goes there.
        openai: the stand-in for that provider.
        anthropic: the stand-in for that provider, which breaks and heals.
        pace_s: seconds between two acts.
    """

    def __init__(
        self, *, connection: Connection, crew: Crew, screen: Screen, openai: StandIn, anthropic: StandIn, pace_s: float
    ) -> None:
        """Wire; nothing is written before `write_first_rows`."""
        self._connection, self._crew, self._screen, self._pace_s = connection, crew, screen, pace_s
        self._openai, self._anthropic = openai, anthropic
        self._times: list[tuple[str, str, float]] = []  # change, worker, milliseconds from commit to live

    async def write_first_rows(self) -> None:
        """Make the first config: OpenAI, with Anthropic behind it, and a smaller model for summaries."""
        rows = {
            "llm_provider": "openai",
            "llm_model": "gpt-5.4",
            "llm_fallback_config": {"provider": "anthropic", "model": "claude-sonnet-4-6"},
            "llm:summary": {"provider": "openai", "model": "gpt-5.4-mini"},
            "openai_api_base": self._openai.api_base,
            "anthropic_api_base": self._anthropic.api_base,
            "litellm_cooldown_time": _COOLDOWN_S,
        }
        values = ",\n".join(f"  ('{key}', '{json.dumps(value)}')" for key, value in rows.items())
        await self._execute(f"INSERT INTO liverouter.settings (key, value) VALUES\n{values};")

    async def play(self) -> bool:
        """Play all acts; return whether no call failed.

        Raises:
            DemoError: something did not happen in time.
        """
        for act in (self._start, self._switch, self._name, self._fail_over, self._heal, self._spoil, self._mend):
            await act()
            await asyncio.sleep(self._pace_s)  # so that a person can read along
        return self._sum_up()

    async def go_on(self, invitation: Sequence[str]) -> None:
        """Show *invitation*, then tell of every change until cancelled.

        Raises:
            DemoError: a worker ended.
        """
        self._screen.title("Your turn")
        for line in invitation:
            self._screen.plain(line)
        seen = {worker.name: _revision(worker) for worker in self._crew.workers}
        while True:
            await self._crew.wait_any(lambda w: _revision(w) != seen[w.name])
            for worker in self._crew.workers:
                if (revision := _revision(worker)) != seen[worker.name]:
                    seen[worker.name] = revision
                    said, summary = worker.answer["text"], worker.answers["summary"]["text"]
                    self._screen.say(f"{worker.name} serves revision {revision}: {said!r}; as a summary {summary!r}")

    # -- acts --------------------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        await self._crew.wait_until(_has_answers, "the first answers", _FIRST_CALL_S)
        for worker in self._crew.workers:
            self._screen.say(f"{worker.name} got its first answer, from {_served(worker)}: {worker.answer['text']!r}")

    async def _switch(self) -> None:
        self._screen.title("1. An admin moves the default model to another provider, in psql")
        await self._change("the provider", _SWITCH, "anthropic")

    async def _name(self) -> None:
        self._screen.title("2. Summaries move to another model; whoever asks for the default notices nothing")
        await self._change("the summaries' model", _NAME, "anthropic", asked="summary")

    async def _fail_over(self) -> None:
        self._screen.title("3. The provider breaks: Anthropic answers every request with 500")
        before = {worker.name: worker.fallback_calls for worker in self._crew.workers}
        self._anthropic.fail("500")
        await self._until(
            lambda w: w.fallback_calls >= before[w.name] + _CALLS_PER_ACT and _all_by(w, "fallback"),
            f"{_CALLS_PER_ACT} answers from the fallbacks",
        )
        self._screen.say(f"calls go on, each name's answered by its fallback: {self._from_whom()}")

    async def _heal(self) -> None:
        self._screen.title("4. The provider heals")
        self._anthropic.heal()
        await self._until(lambda w: _all_by(w, "primary"), "an answer from each primary")
        self._screen.say(f"after a cooldown of {_COOLDOWN_S} s the primaries serve again: {self._from_whom()}")

    async def _spoil(self) -> None:
        self._screen.title("5. Somebody writes a row that cannot work")
        revision = await self._execute(_SPOIL)
        await self._until_sql(
            "SELECT count(*) = $2 FROM liverouter.instances WHERE rejected_revision = $1",
            revision,
            len(self._crew.workers),
            what=f"a rejection of revision {revision} by each worker",
        )
        rows = await self._query(_WHY, apart="error")
        self._screen.say(f"and the error: {rows[0]['error']}")
        await self._crew.wait_calls(_CALLS_PER_ACT, _STEP_S)
        self._screen.say(f"calls go on under the last good revision: {self._from_whom()}")

    async def _mend(self) -> None:
        self._screen.title("6. The row is mended")
        await self._change("the mended row", _MEND, "anthropic")

    def _sum_up(self) -> bool:
        """Tell the figures of all acts; return whether no call failed."""
        workers = self._crew.workers
        errors = [error for worker in workers for error in worker.errors]
        self._screen.title("Summary")
        self._screen.say(f"{sum(w.calls for w in workers)} calls by {len(workers)} processes, failures = {len(errors)}")
        self._screen.say(f"{sum(w.fallback_calls for w in workers)} of them were answered by a fallback")
        for change, worker, ms in self._times:
            self._screen.say(f"{change} was live in {worker} {ms:.0f} ms after the commit")
        for error in errors[:5]:
            self._screen.say(f"a call failed: {error}")
        return not errors

    # -- steps -------------------------------------------------------------------------------------------------------

    async def _change(self, what: str, statements: str, provider: str, *, asked: str = "default") -> None:
        """Execute a change of the model *asked*, and wait until both workers report it and it is *provider*'s there."""
        revision = await self._execute(statements)
        await self._until_sql(
            "SELECT count(*) = $2 FROM liverouter.instances WHERE applied_revision = $1",
            revision,
            len(self._crew.workers),
            what=f"revision {revision} live in each worker",
        )
        for row in await self._query(_OUTCOME):
            self._times.append((what, row["app"], float(row["commit_to_live_ms"])))
        await self._until(
            lambda w: (w.answers[asked]["revision"], w.answers[asked]["provider"]) == (revision, provider),
            f"an answer from {provider}",
        )
        self._screen.say(f"the same model objects answer by it, no restart: {self._from_whom()}")

    async def _execute(self, statements: str) -> int:
        """Show and execute *statements*; return the revision they made."""
        self._screen.sql(statements)
        await self._connection.execute(statements)
        return int(await self._connection.fetchval("SELECT revision FROM liverouter.head"))

    async def _query(self, query: str, *, apart: str = "") -> Sequence[Mapping[str, Any]]:
        """Show and execute *query*; return its rows, and show them without the column *apart*, which is too wide."""
        self._screen.sql(query)
        rows = [dict(row) for row in await self._connection.fetch(query)]
        self._screen.rows([{name: value for name, value in row.items() if name != apart} for row in rows])
        return rows

    async def _until(self, all_of_them: Callable[[Worker], bool], what: str) -> None:
        """Return once *all_of_them* is true of each worker; raises the DemoError that names *what* after `_STEP_S`."""
        await self._crew.wait_until(all_of_them, what, _STEP_S)

    async def _until_sql(self, query: str, *arguments: object, what: str) -> None:
        """Return once *query* answers true; raises a DemoError after `_STEP_S`, or at once where a worker ended."""
        try:
            async with asyncio.timeout(_STEP_S):
                while not await self._connection.fetchval(query, *arguments):
                    self._crew.refuse_ended()
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError:
            raise DemoError(f"{what}: not within {_STEP_S:g} s") from None

    def _from_whom(self) -> str:
        """Return by which provider's models each worker was answered last, for people."""
        return ", ".join(f"{w.name} by {_served(w)}, summaries by {_served(w, 'summary')}" for w in self._crew.workers)


def _has_answers(worker: Worker) -> bool:
    return {"default", "summary"} <= worker.answers.keys()


def _revision(worker: Worker) -> int:
    """Return the one by which all names were answered last, the older of two."""
    return int(min(answer["revision"] for answer in worker.answers.values()))


def _all_by(worker: Worker, role: str) -> bool:
    return all(answer["role"] == role for answer in worker.answers.values())


def _served(worker: Worker, asked: str = "default") -> str:
    return "{provider}/{model}".format(**worker.answers[asked])
