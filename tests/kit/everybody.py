"""Everybody at once: a client of each engine over all dialects, and the stand-ins behind them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final, Self

from langchain_core.tools import tool

from liverouter.testing import MemoryRouter, StandIn
from tests.kit.dialects import DIALECTS
from tests.kit.standins import bodies, fallback, primary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from liverouter.events import Event

ENGINES: Final = {"litellm": True, "native": False}
TARGETS: Final = [(dialect, engine) for dialect in DIALECTS for engine in ENGINES]


@tool
def add(a: int, b: int = 2, *, note: dict[str, int] | None = None) -> int:
    """Add two numbers."""
    return a + b + len(note or ())


def named(target: tuple[str, str]) -> str:
    """Return how a target reads as a test's parameter."""
    return " ".join(target)


class World:
    """Two clients, each with every dialect as a deployment; a context manager.

    Attributes:
        standins: by provider.
        secrets: that they all take.
        clients: by engine.
        events: of both, since the last question.
    """

    def __init__(self) -> None:
        self.standins = {provider: StandIn(provider) for provider in {d.provider for d in DIALECTS.values()}}
        self.secrets: dict[str, str] = {}
        self.clients: dict[str, MemoryRouter] = {}
        self.events: list[Event] = []
        self._entered = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Start the stand-ins, and make the clients live."""
        with contextlib.ExitStack() as entered:
            for standin in self.standins.values():
                entered.callback(standin.start().stop)
                self.secrets |= standin.secrets()
            first, *others = DIALECTS.values()
            rows = {
                **primary(self.standins[first.provider], first.model),
                "llm_fallback_config": [fallback(self.standins[one.provider], one.model) for one in others],
            }
            for engine, enabled in ENGINES.items():
                client = MemoryRouter(
                    {**rows, "litellm_enable": enabled}, secrets=self.secrets, observers=(self.events.append,)
                )
                self.clients[engine] = entered.enter_context(client)
            self._entered = entered.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """End the clients, then the stand-ins."""
        self._entered.close()

    def ask(
        self, target: tuple[str, str], said: Any, *, tools: Sequence[Any] | None = None, **options: Any
    ) -> dict[str, Any]:
        """Ask the *target*, a dialect and an engine, alone, and return the body that its provider got and took.

        *options* with a `strict` or a `tool_choice` are those of `bind_tools`, where there are *tools*.
        """
        dialect, model = DIALECTS[target[0]], self.clients[target[1]].chat_model()
        standin = self.standins[dialect.provider]
        refused = len(standin.violations)
        self.events.clear()
        bound: Any = model.bind(**options) if tools is None else model.bind_tools(tools, **options)
        bound.invoke(said, model=f"{dialect.provider}/{dialect.model}")
        assert standin.violations[refused:] == ()
        return bodies(standin)[-1]
