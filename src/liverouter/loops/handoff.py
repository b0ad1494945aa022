"""A coroutine handed to a loop by a caller elsewhere, who waits for its end: on a thread, or on a loop of its own.

It does what `asyncio.run_coroutine_threadsafe` does in half of the time: no future stands between the task and its
caller.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from liverouter.loops.wakeup import call_soon

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


class _Handoff(Generic[T]):
    """One coroutine on its way to *loop*, there, and back.

    Args:
        loop: on which *coroutine* runs.
        coroutine: not yet begun.
    """

    __slots__ = ("_coroutine", "_is_dropped", "_loop", "_task")

    def __init__(self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> None:
        self._loop, self._coroutine = loop, coroutine
        self._task: asyncio.Task[T] | None = None
        self._is_dropped = False

    def begin(self) -> None:
        """On the loop, in the caller's context: run the coroutine as a task."""
        self._task = self._loop.create_task(self._coroutine)
        self._task.add_done_callback(self._end)
        if self._is_dropped:
            self._task.cancel()

    def _end(self, task: asyncio.Task[T]) -> None:
        """On the loop: wake the caller."""
        if not task.cancelled():
            task.exception()  # asyncio complains of one that nobody took, and the caller may have left
        self._wake()

    def _wake(self) -> None:
        raise NotImplementedError

    def _drop(self) -> None:
        """Cancel the task, as the caller has left; does nothing to one that has ended."""
        self._is_dropped = True
        call_soon(self._loop, self._cancel)

    def _cancel(self) -> None:
        if self._task is not None:  # else it is cancelled as it begins
            self._task.cancel()

    def _outcome(self) -> T:
        """Return what the ended task did, or raise what it raised."""
        task, self._task = self._task, None
        try:
            return task.result()  # type: ignore[union-attr]  # the caller was woken by its end
        finally:
            del task  # a cycle otherwise: the error's traceback holds this frame


class Blocking(_Handoff[T]):
    """A coroutine whose caller blocks its thread."""

    __slots__ = ("_ended",)

    def __init__(self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> None:
        super().__init__(loop, coroutine)
        self._ended = threading.Lock()
        self._ended.acquire()

    def _wake(self) -> None:
        self._ended.release()

    def result(self) -> T:
        """Return what the coroutine returned; blocks until then.

        Raises:
            BaseException: what it raised, `asyncio.CancelledError` where it was cancelled.
        """
        try:
            self._ended.acquire()
        except BaseException:  # KeyboardInterrupt
            self._drop()
            raise
        return self._outcome()


class Awaited(_Handoff[T]):
    """A coroutine whose caller awaits its end on the loop that runs as this is made."""

    __slots__ = ("_arrived", "_callers")

    def __init__(self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> None:
        super().__init__(loop, coroutine)
        self._callers = asyncio.get_running_loop()
        self._arrived: asyncio.Future[None] = self._callers.create_future()

    def _wake(self) -> None:
        call_soon(self._callers, self._arrive)

    def _arrive(self) -> None:
        if not self._arrived.done():
            self._arrived.set_result(None)

    async def result(self) -> T:
        """Return what the coroutine returned.

        Raises:
            BaseException: what it raised, `asyncio.CancelledError` where it or the caller was cancelled.
        """
        try:
            await self._arrived
        except BaseException:
            self._drop()
            raise
        return self._outcome()
