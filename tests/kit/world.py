"""Every provider and body format as a primary with a fallback behind it, over real HTTP, by a clock that tests tick."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from liverouter.testing import EventLog, MemoryRouter, StandIn
from tests.kit.dialects import EVERY
from tests.kit.standins import run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from langchain_core.messages import AIMessage

    from liverouter.chat.model import LiveChatModel
    from liverouter.revision import Deployment

METHODS: Final = ("ainvoke", "invoke", "astream", "stream")
PROMPT: Final = "hi there"
LONG_S: Final = 60.0  # a timeout that nothing in a healthy test reaches


class Clock:
    """The clock of cooldowns, in unix seconds: it stands still until it is ticked."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        """Return unix seconds."""
        return self.now

    def tick(self, seconds: float) -> None:
        """Let *seconds* pass."""
        self.now += seconds


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one call came to; hits are the model calls that a stand-in saw during it."""

    seconds: float
    primary_hits: int
    fallback_hits: int
    answer: AIMessage

    @property
    def told(self) -> dict[str, Any]:
        """What the answer says about who gave it."""
        told: dict[str, Any] = self.answer.response_metadata["liverouter"]
        return told

    @property
    def role(self) -> str:
        """Who answered: the primary or a fallback."""
        return str(self.told["role"])


class World:
    """A primary and a fallback of another provider behind one handle, over real HTTP and a real Router."""

    def __init__(self, dialect: str, *, fallback: str | None = None, **rows: Any) -> None:
        """Prepare; *dialect* and *fallback* name dialects, *rows* add to the settings.

        *fallback* None takes a provider that is not the primary's, "" takes none.
        """
        self.dialect = EVERY[dialect]
        if fallback is None:
            fallback = "anthropic" if self.dialect.provider in {"openai", "azure-openai"} else "openai"
        self._spare = EVERY[fallback] if fallback else None
        self._rows = rows
        self._stack = ExitStack()
        self.clock = Clock()
        self.events = EventLog()
        self.primary: StandIn
        self.fallback: StandIn
        self.live: MemoryRouter
        self.model: LiveChatModel

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._enter(stack.enter_context)
            self._stack = stack.pop_all()
        return self

    def _enter(self, enter: Callable[[AbstractContextManager[Any]], Any]) -> None:
        """Start what there is, from the stand-ins to the client."""
        self.primary = enter(StandIn(self.dialect.provider))
        rows = self.dialect.rows(self.primary)
        secrets = {self.dialect.key: self.dialect.secret_for(self.primary, "primary")}
        if self._spare is not None:
            self.fallback = enter(StandIn(self._spare.provider))
            rows["llm_fallback_config"] = self._spare.entry(self.fallback)
            secrets["spare"] = self._spare.secret_for(self.fallback, "fallback")
        self.live = enter(
            MemoryRouter({**rows, **self._rows}, secrets=secrets, clock=self.clock, observers=(self.events,))
        )
        self.model = self.live.chat_model()

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def deployment(self, role: str = "primary") -> Deployment:
        """Return the first deployment of *role*."""
        return next(d for d in self.live.generation().snapshot.deployments if d.role == role)

    def call(self, method: str = "invoke", **options: Any) -> Outcome:
        """Make one call and return what it came to; raises what it raises."""
        before = self.hits()
        started = time.monotonic()
        answer = ask(self.model, method, **options)
        seconds = time.monotonic() - started
        after = self.hits()
        return Outcome(seconds, after[0] - before[0], after[1] - before[1], answer)

    def hits(self) -> tuple[int, int]:
        """Return the model calls that the primary and the fallback have seen."""
        return self.primary.hits, self.fallback.hits if self._spare is not None else 0

    def cooling_s(self, role: str = "primary") -> float:
        """Return how much longer the first deployment of *role* cools, 0 if it does not."""
        identifier = self.deployment(role).id
        return self.live.cooldowns.remaining_s([identifier]).get(identifier, 0.0)

    @property
    def standins(self) -> tuple[StandIn, ...]:
        """Every stand-in there is."""
        return (self.primary, self.fallback) if self._spare is not None else (self.primary,)


def ask(model: LiveChatModel, method: str = "invoke", text: str = PROMPT, /, **options: Any) -> AIMessage:
    """Call *model* by *method* from this thread, which has no loop; a stream is read to its end and added up."""
    match method:
        case "invoke":
            return model.invoke(text, **options)
        case "ainvoke":
            answer: AIMessage = run(lambda: model.ainvoke(text, **options))
            return answer
        case "stream":
            return _sum(list(model.stream(text, **options)))
        case _:
            return _sum(run(lambda: _collect(model, text, options)))


async def _collect(model: LiveChatModel, text: str, options: Mapping[str, Any]) -> list[Any]:
    return [chunk async for chunk in model.astream(text, **options)]


def _sum(chunks: list[Any]) -> AIMessage:
    total: AIMessage = chunks[0]
    for chunk in chunks[1:]:
        total += chunk
    return total
