"""How long an attempt may stay silent, by a loop whose time passes as fast as nobody has anything to do."""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from liverouter.routing.clock import Clock, clock_of_call

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


class Idle(selectors.DefaultSelector):
    """A selector that never waits: it puts the time of *loop* forward instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready, and let *timeout* seconds pass at once; None: nothing will ever happen."""
        assert timeout is not None, "everybody waits for ever"
        self.now_s += max(timeout, 0.0)
        return super().select(0)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Return what *work* returns, without waiting for the time that it takes."""
    selector = Idle()

    def make() -> asyncio.AbstractEventLoop:
        loop: Any = asyncio.SelectorEventLoop(selector)
        loop.time = lambda: selector.now_s
        return loop  # type: ignore[no-any-return]  # made above

    with asyncio.Runner(loop_factory=make) as runner:
        return runner.run(work)


def now_s() -> float:
    """Return the loop's seconds."""
    return asyncio.get_running_loop().time()


class TestClock:
    def test_wait_returns_what_comes_in_time(self) -> None:
        """Within the time it is as if there were no clock, but that whoever is asked finds it."""

        async def work() -> tuple[str, bool]:
            clock = Clock(10)

            async def answer() -> tuple[str, bool]:
                await asyncio.sleep(9)
                return "hi", clock_of_call() is clock

            return await clock.wait(answer())

        assert run(work()) == ("hi", True)

    def test_silence_ends_after_the_timeout_and_a_tenth(self) -> None:
        """A library's own timeout comes first, where it comes."""

        async def work() -> float:
            with pytest.raises(TimeoutError):
                await Clock(10).wait(asyncio.sleep(60))
            return now_s()

        assert run(work()) == pytest.approx(11)

    def test_pieces_without_content_share_one_time(self) -> None:
        """Pings do not keep an attempt alive."""

        async def work() -> float:
            clock = Clock(10)
            for _ in range(3):
                await clock.wait(asyncio.sleep(3))
            with pytest.raises(TimeoutError):
                await clock.wait(asyncio.sleep(3))
            return now_s()

        assert run(work()) == pytest.approx(11)

    def test_pieces_that_are_there_already_take_time(self) -> None:
        """Reading them never waits, so that no timer runs; it ends all the same."""

        async def read() -> None:
            loop: Any = asyncio.get_running_loop()
            loop._selector.now_s += 4  # noqa: SLF001 - this test's own

        async def work() -> int:
            clock = Clock(10)
            for read_before in range(10):
                try:
                    await clock.wait(read())
                    clock.check()
                except TimeoutError:
                    return read_before
            return 10

        assert run(work()) == 2

    def test_content_begins_the_time_anew(self) -> None:
        """An answer may take as long as it goes on."""

        async def work() -> float:
            clock = Clock(10)
            for _ in range(10):
                await clock.wait(asyncio.sleep(9))
                clock.heard()
            with pytest.raises(TimeoutError):
                await clock.wait(asyncio.sleep(60))
            return now_s()

        assert run(work()) == pytest.approx(101)

    def test_readers_own_time_does_not_count(self) -> None:
        """Who takes an hour between two pieces finds the time that was left."""

        async def work() -> float:
            clock = Clock(10)
            await clock.wait(asyncio.sleep(6))
            await asyncio.sleep(3600)
            await clock.wait(asyncio.sleep(4))
            await asyncio.sleep(3600)
            began = now_s()
            with pytest.raises(TimeoutError):
                await clock.wait(asyncio.sleep(60))
            return now_s() - began

        assert run(work()) == pytest.approx(1)

    def test_cancelling_the_caller_is_no_timeout(self) -> None:
        """Whoever is cancelled while he waits is cancelled."""

        async def work() -> bool:
            task = asyncio.create_task(Clock(10).wait(asyncio.sleep(60)))
            await asyncio.sleep(1)
            task.cancel()
            await asyncio.wait([task])
            return task.cancelled()

        assert run(work())
