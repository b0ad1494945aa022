"""A fallback known to work: what nobody has called for `llm_probe_interval_h` hours is asked once, with a few tokens.

One that does not answer is asked again every few minutes, which costs nothing while it fails: until it does, `problems`
tells of it.

The database chooses who asks: see `migrations/sql/0012_health/probes.sql`. The call goes the way of all calls, so that
`usage` counts it and `problems` tells what it found.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from liverouter.chat.health import in_words
from liverouter.chat.model import LiveChatModel
from liverouter.chat.source import OneGeneration
from liverouter.errors import DatabaseError
from liverouter.events import ProbeFailed

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage

    from liverouter.chat.source import Source
    from liverouter.chat.usage import UsageCounter
    from liverouter.generation import Generation, Store
    from liverouter.loops.thread import LoopThread
    from liverouter.postgres.repository import SettingsRepository
    from liverouter.revision import Deployment

_PROMPT: Final = "Answer with the word yes."
_MAX_TOKENS: Final = 16  # the least that every provider takes
_EVERY_S: Final = 60.0
_AGAIN_H: Final = 0.1  # for one that failed; what `find_health` tells of it holds for longer than that
_LONGEST_ID: Final = 300  # characters of a deployment's id, as the database keeps it
_GRACE_S: Final = 5.0  # after the configured timeout, for a library that does not heed it


class Probes:
    """Asks now and then what is to be asked.

    Args:
        repository: says which deployments are due, each to one process of the fleet.
        store: has the generation in force, whose rows say how often.
        usage: counts the calls.
        io: the loop that they run on.
    """

    def __init__(self, *, repository: SettingsRepository, store: Store, usage: UsageCounter, io: LoopThread) -> None:
        self._repository, self._store, self._usage, self._io = repository, store, usage, io
        self._failing: set[str] = set()  # that did not answer when this process asked last

    async def run(self) -> None:
        """Ask until cancelled, one deployment after the other; nothing where the rows do not want it."""
        while True:
            generation = self._store.current
            if generation is not None and (hours := generation.snapshot.probe_interval_h):
                views = [generation.named(name) for name in generation.models]
                places = {d.id[:_LONGEST_ID]: (view, d) for view in reversed(views) for d in view.deployments}
                with contextlib.suppress(DatabaseError):  # whoever reads and reports tells of that
                    for identifier in await self._due(list(places), hours):
                        await self._ask(*places[identifier], identifier)
            await asyncio.sleep(_EVERY_S)

    async def _due(self, identifiers: list[str], hours: float) -> list[str]:
        """Return which of *identifiers* this process is to ask: idle for so many *hours*, or failing.

        Raises:
            DatabaseError: it cannot be asked.
        """
        due = await self._repository.due_probes(identifiers, hours)
        self._failing.intersection_update(identifiers)  # what rows have no more is asked no more
        again = [identifier for identifier in identifiers if identifier in self._failing and identifier not in due]
        return [*due, *(await self._repository.due_probes(again, _AGAIN_H))] if again else due

    async def _ask(self, generation: Generation, deployment: Deployment, identifier: str) -> None:
        """Make one call of *deployment* alone, which is counted as any; tell of an error."""
        try:
            await probe(OneGeneration(self._io, self._usage, generation.alone(deployment)), deployment)
        except Exception as exc:  # noqa: BLE001 - a provider's library raises what it likes
            self._failing.add(identifier)
            self._usage.emit(ProbeFailed(deployment.id, in_words(exc)))
        else:
            self._failing.discard(identifier)


async def probe(source: Source, deployment: Deployment) -> AIMessage:
    """Return what *deployment*, the only one of *source*, answers to one call of a few tokens.

    Raises:
        TimeoutError: no answer, and no error either, some seconds after its configured timeout.
        Exception: what the handle raises.
    """
    model = LiveChatModel(source=source, max_tokens=_MAX_TOKENS, cache=False)
    async with asyncio.timeout(deployment.timeout_s + _GRACE_S):
        return await model.ainvoke(_PROMPT)
