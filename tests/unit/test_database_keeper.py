"""The keeper of the daemon's own PostgreSQL, of a server that cannot be asked."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from liverouter.daemon import database_keeper
from liverouter.daemon.database_keeper import DatabaseKeeper
from liverouter.events import Event, LoopFailed

if TYPE_CHECKING:
    import pytest


async def test_fault_of_the_look_itself_is_no_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody foresaw in asking a server is told, and it is asked again; a server that runs is not killed."""
    monkeypatch.setattr(database_keeper, "_LOOK_AGAIN_S", 0.0)
    killed, told, twice = list[str](), list[Event](), asyncio.Event()
    server: Any = SimpleNamespace(host="127.0.0.1", port=70_000, has_ended=False, kill=lambda: killed.append("killed"))

    def tell(event: Event) -> None:
        told.append(event)
        if len(told) > 1:
            twice.set()

    keeping = asyncio.create_task(DatabaseKeeper(server, tell=tell).run())
    await asyncio.wait({keeping, asyncio.create_task(twice.wait())}, return_when=asyncio.FIRST_COMPLETED)
    keeping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await keeping
    assert killed == []
    assert {type(event) for event in told} == {LoopFailed}
