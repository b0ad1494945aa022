"""What an async generator yields on one loop, handed to a reader on any thread or any other loop.

The generator runs ahead of its reader, within bounds; a reader that stops early, or is dropped, cancels it.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import queue
from collections import deque
from typing import TYPE_CHECKING, Any, Final, TypeVar

from liverouter.loops.wakeup import Wakeup

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

T = TypeVar("T")

_AHEAD: Final = 64  # items that a generator may be ahead of its reader
_END: Final = object()


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
    items: queue.SimpleQueue[Any] = queue.SimpleQueue()
    brake = _Brake(items.qsize)
    future = submit(_pump, source, items.put, brake)
    future.add_done_callback(lambda _: items.put(_END))
    try:
        while (item := items.get()) is not _END:
            brake.ease()
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
    items: deque[T] = deque()
    news = Wakeup()
    brake = _Brake(items.__len__)

    def put(item: T) -> None:
        """On the pump's loop: hand *item* over."""
        items.append(item)
        if len(items) == 1:  # a reader that has items left is not waiting
            news.set()

    future = submit(_pump, source, put, brake)
    future.add_done_callback(lambda _: news.set())
    try:
        while True:
            done = future.done()  # before the look at the items: once it is done, all of them are there
            while items:
                yield items.popleft()
                brake.ease()
            if done:
                break
            await news.wait()
            news.clear()
        future.result()
    except concurrent.futures.CancelledError:
        raise ended() from None
    finally:
        future.cancel()


class _Brake:
    """Stops a pump that is too far ahead until its reader has caught up.

    Args:
        ahead: returns how many items the reader has yet to take; called on both sides.
    """

    __slots__ = ("_ahead", "_resume", "_stopped")

    def __init__(self, ahead: Callable[[], int]) -> None:
        self._ahead, self._resume, self._stopped = ahead, Wakeup(), False

    async def apply(self) -> None:
        """On the pump's loop, after each item: wait while the reader is `_AHEAD` items behind."""
        if self._ahead() < _AHEAD:
            return
        self._resume.clear()
        self._stopped = True
        if self._ahead() >= _AHEAD:  # again: the reader may have caught up before it could see `_stopped`
            await self._resume.wait()
        self._stopped = False

    def ease(self) -> None:
        """On the reader's thread, for each item: let the pump go on once half the buffer is free."""
        if self._stopped and self._ahead() <= _AHEAD // 2:
            self._resume.set()


async def _pump(source: AsyncGenerator[T, None], put: Callable[[T], None], brake: _Brake) -> None:
    """On the loop, as one task: hand every item of *source* to *put*, and close it.

    It is one task because a cancel scope of anyio, inside *source*, must be left by the task that entered it.
    """
    async with contextlib.aclosing(source):
        async for item in source:
            put(item)
            await brake.apply()
