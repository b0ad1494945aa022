"""The handle over stand-ins: rows in memory, everything behind them real."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from liverouter.testing import MemoryRouter
from tests.kit.dialects import BY_PROVIDER

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from langchain_core.messages import BaseMessage

    from liverouter.chat.model import LiveChatModel
    from liverouter.events import Observer
    from liverouter.testing import StandIn

KEY: Final = "sk-standin-0123456789"  # how the keys of `StandIn.secrets` begin


def primary(standin: StandIn, model: str | None = None) -> dict[str, Any]:
    """Return the rows that make *standin* the primary, by default with the model of its provider's first dialect."""
    dialect = BY_PROVIDER[standin.provider]
    return {**standin.rows(model or dialect.model), **dialect.more}


def fallback(standin: StandIn, model: str | None = None, **members: Any) -> dict[str, Any]:
    """Return an entry of `llm_fallback_config` for *standin*, its model chosen as that of a primary."""
    dialect = BY_PROVIDER[standin.provider]
    named = {"provider": standin.provider, "model": model or dialect.model}
    return {**named, **standin.rows(), **dialect.more, **members}


def live(
    first: StandIn, *others: StandIn, model: str | None = None, observers: tuple[Observer, ...] = (), **rows: Any
) -> MemoryRouter:
    """Return a client whose primary is *first* and whose fallbacks are *others*, to be entered."""
    everything = {
        **primary(first, model),
        "llm_fallback_config": [fallback(other) for other in others] or None,
        "litellm_timeout": 60,  # however busy the machine is: what is to run into it says so in *rows*
        **rows,
    }
    held: dict[str, str] = {}
    for standin in (first, *others):
        held |= standin.secrets()
    return MemoryRouter(everything, secrets=held, observers=observers)


def served(message: BaseMessage) -> dict[str, Any]:
    """Return what *message* says of who served it: `response_metadata["liverouter"]`."""
    found: dict[str, Any] = message.response_metadata["liverouter"]
    return found


def run(make: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run a coroutine on a loop of its own, as a caller's script does.

    Its result is none of `asyncio.run`'s, which may cost more than the call: Python 3.11 makes the main task's repr,
    that of its result included, when it puts the handler of SIGINT back.
    """
    results: list[Any] = []

    async def keep() -> None:
        results.append(await make())

    asyncio.run(keep())
    return results[0]


async def collect(model: LiveChatModel, text: str = "hi", **kwargs: Any) -> BaseMessage:
    """Stream an answer and return its chunks merged."""
    whole: Any = None
    async for chunk in model.astream(text, **kwargs):
        whole = chunk if whole is None else whole + chunk
    merged: BaseMessage = whole
    return merged


def bodies(standin: StandIn) -> list[dict[str, Any]]:
    """Return the JSON bodies that *standin* was sent, oldest first."""
    return [request.body for request in standin.requests if request.body is not None]
