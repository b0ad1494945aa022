"""Thousands of swaps in one process: what they leave behind."""

from __future__ import annotations

import gc
from typing import Final

import psutil

from liverouter.testing import StandIn
from liverouter.testing.memory import MemoryRouter

_WARM_UP: Final = 100  # swaps
_BATCH: Final = 100  # swaps between two collections: more garbage at once makes the process larger for good
_CALL_EVERY: Final = 20  # swaps


def measure_swaps(count: int, *, limit_mb: float, max_routers: int = 2) -> bool:
    """Swap *count* times, with calls between; print memory and Routers, and tell whether both stay in their limits."""
    others = _alive()  # of tests that ran before in this process
    with StandIn("openai", keep=100) as standin:
        rows = {"llm_provider": "openai", "llm_model": "first", "openai_api_base": standin.api_base}
        with MemoryRouter(rows, secrets={"openai_api_key": "sk-swaps"}) as live:
            process = psutil.Process()
            for _ in range(0, _WARM_UP, _BATCH):
                _swap(live, _BATCH)
            before_mb = process.memory_info().rss / 2**20
            most = max(_swap(live, min(_BATCH, count - done)) for done in range(0, count, _BATCH)) - others
            after_mb = process.memory_info().rss / 2**20
    print(f"{count} swaps         RSS {before_mb:.1f} → {after_mb:.1f} MB, Routers alive at most {most}")
    return after_mb - before_mb < limit_mb and most <= max_routers


def _swap(live: MemoryRouter, count: int) -> int:
    """Swap and call; return how many Routers are alive afterwards."""
    model = live.chat_model()
    for number in range(count):
        live.set(llm_model=f"m{number % 7}", litellm_timeout=100 + number % 11)
        if number % _CALL_EVERY == 0:
            assert model.invoke("hi").content == f"m{number % 7} says: hi"
    return _alive()


def _alive() -> int:
    """Return how many Routers are alive in this process."""
    gc.collect()
    from litellm import Router

    return sum(isinstance(o, Router) for o in gc.get_objects())
