"""A server that ends a connection says so first, and closes it a moment later: in between, the connection is broken."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from liverouter.bus import Bus
from liverouter.events import ListenerConnected, ListenerLost, LoopFailed
from liverouter.loops.reload_requests import ReloadRequests
from liverouter.postgres.dsn import Dsn
from liverouter.postgres.listener import Listener
from liverouter.postgres.repository import SettingsRepository
from liverouter.testing.events import EventLog
from tests.kit.postgres.proxy import FaultProxy, error
from tests.kit.waiting import until_async

if TYPE_CHECKING:
    from collections.abc import Iterator

_READY, _ROW = b"Z", b"D"
_FAREWELL = error("57P01", "terminating connection due to administrator command")


@pytest.fixture
def proxy(dsn: str) -> Iterator[FaultProxy]:
    """A proxy before this test's database."""
    with FaultProxy(dsn) as running:
        yield running


def farewell(proxy: FaultProxy, *, amid: bool) -> None:
    """Have the server say its farewell once, *amid* its next answer or after it, and leave the connection open."""

    def rewrite(frame: bytes) -> list[bytes]:
        if frame[:1] != (_ROW if amid else _READY):
            return [frame]
        proxy.rewrite(None)
        return [_FAREWELL, frame] if amid else [frame, _FAREWELL]

    proxy.rewrite(rewrite)


@pytest.mark.parametrize("amid", [False, True])
async def test_a_read_takes_another_connection(proxy: FaultProxy, *, amid: bool) -> None:
    """A read that finds the kept connection so is as good as any other."""
    repository = SettingsRepository(url=proxy.dsn)
    try:
        await repository.read()
        farewell(proxy, amid=amid)
        await repository.read()
        assert (await repository.read()).revision == 0
        assert proxy.accepted == 2
    finally:
        await repository.close()


@pytest.mark.parametrize("amid", [False, True])
async def test_the_listening_connection_is_replaced(proxy: FaultProxy, *, amid: bool) -> None:
    """A probe that finds it so has met a lost connection, not an error that nobody foresaw."""
    events = EventLog()
    listener = Listener(
        dsn=Dsn.parse(proxy.dsn),
        requests=ReloadRequests(Bus()),
        bus=Bus(events),
        application_name="liverouter-listen/test",
        probe_interval_s=0.1,
        probe_timeout_s=30.0,
    )
    task = asyncio.create_task(listener.run())
    try:
        await until_async(lambda: events.of(ListenerConnected))
        farewell(proxy, amid=amid)
        await until_async(lambda: events.of(ListenerConnected, reconnects=1))
        assert events.of(ListenerLost, cause="unreachable")
        assert not events.of(LoopFailed)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
