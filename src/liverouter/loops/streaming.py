"""What an async generator yields on one loop, handed to a reader on any thread or any other loop.

The generator runs ahead of its reader, within bounds; a reader that stops early, or is dropped, cancels it. Items go
over in batches: what comes within one turn of the generator's loop wakes the reader once.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import queue
from collections import deque
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from liverouter.loops.wakeup import Wakeup, call_soon

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

T = TypeVar("T")

_AHEAD: Final = 64  # items that a generator may be ahead of its reader


def read(
    submit: Callable[..., concurrent.futures.Future[None]], source: AsyncGenerator[T, None]
) -> Generator[T, None, None]:
    """Yield what *source* yields on the loop of *submit*; blocks the calling thread between items.

    Args:
        submit: starts a coroutine function, given with its arguments, on the loop: `LoopThread.submit`.
        source: not yet begun; is closed on the loop.

    Raises:
        concurrent.futures.CancelledError: the loop ended before *source* did.
    """
    batches: queue.SimpleQueue[list[T] | None] = queue.SimpleQueue()
    pump = _Pump(source, batches.put)
    future = submit(pump.run)
    future.add_done_callback(lambda _: batches.put(None))
    try:
        while (batch := batches.get()) is not None:
            for item in batch:
                pump.took()
                yield item
        future.result()
    finally:
        future.cancel()


async def aread(
    submit: Callable[..., concurrent.futures.Future[None]],
    source: AsyncGenerator[T, None],
    ended: Callable[[], Exception],
) -> AsyncGenerator[T, None]:
    """Yield what *source* yields on the loop of *submit* to a reader on another loop.

    Args:
        submit: starts a coroutine function, given with its arguments, on the loop: `LoopThread.submit`.
        source: not yet begun; is closed on the loop.
        ended: makes the error that is raised where the loop ended before *source*.
    """
    loop, news = asyncio.get_running_loop(), asyncio.Event()
    batches: deque[list[T] | None] = deque()  # None: that was all

    def arrived(batch: list[T] | None) -> None:
        """On the reader's loop: wake the reader for *batch*."""
        batches.append(batch)
        news.set()

    pump = _Pump(source, lambda batch: call_soon(loop, arrived, batch))
    future = submit(pump.run)
    future.add_done_callback(lambda _: call_soon(loop, arrived, None))
    try:
        while True:
            await news.wait()
            news.clear()
            while batches:
                if (batch := batches.popleft()) is None:
                    future.result()
                    return
                for item in batch:
                    pump.took()
                    yield item
    except concurrent.futures.CancelledError:
        raise ended() from None
    finally:
        future.cancel()


class _Pump(Generic[T]):
    """Hands every item of a generator to its reader, at most `_AHEAD` items ahead of it.

    Args:
        source: the generator; begun and closed by `run`.
        deliver: takes a batch of items to the reader; called on the loop of `run`.
    """

    __slots__ = ("_batch", "_deliver", "_made", "_resume", "_source", "_stopped", "_taken")

    def __init__(self, source: AsyncGenerator[T, None], deliver: Callable[[list[T]], object]) -> None:
        self._source, self._deliver = source, deliver
        self._batch: list[T] = []  # what came in this turn of the loop
        self._made = self._taken = 0  # each written on one side, read on both
        self._resume, self._stopped = Wakeup(), False

    async def run(self) -> None:
        """On the loop, as one task: pump until *source* ends.

        It is one task because a cancel scope of anyio, inside *source*, must be left by the task that entered it.
        """
        loop = asyncio.get_running_loop()
        async with contextlib.aclosing(self._source) as source:
            async for item in source:
                if not self._batch:
                    loop.call_soon(self._flush)
                self._batch.append(item)
                self._made += 1
                if self._ahead() >= _AHEAD:
                    await self._be_caught_up()

    def took(self) -> None:
        """On the reader's side, for each item: let the pump go on once half of what it may be ahead is free."""
        self._taken += 1
        if self._stopped and self._ahead() <= _AHEAD // 2:
            self._resume.set()

    def _ahead(self) -> int:
        """Return how many items the reader has yet to take."""
        return self._made - self._taken

    def _flush(self) -> None:
        """After a turn of the loop: deliver what came in it."""
        batch, self._batch = self._batch, []
        self._deliver(batch)

    async def _be_caught_up(self) -> None:
        """Wait while the reader is `_AHEAD` items behind."""
        self._resume.clear()
        self._stopped = True
        if self._ahead() >= _AHEAD:  # again: the reader may have caught up before it could see `_stopped`
            await self._resume.wait()
        self._stopped = False
