"""A wake-up is never missed and never queues; a backoff grows, is spread, and is forgotten."""

from __future__ import annotations

import asyncio
import threading

from hypothesis import given, strategies as st

from liverouter.loops.wakeup import Backoff, Wakeup, jittered

WAIT_S = 60.0


class TestWakeup:
    async def test_set_before_the_wait_is_not_missed(self) -> None:
        """What was set while nobody waited ends the next wait at once."""
        wakeup = Wakeup()
        wakeup.set()
        assert await wakeup.wait(0)
        assert await wakeup.wait(0)  # until it is taken
        wakeup.clear()
        assert not await wakeup.wait(0)

    async def test_set_wakes_who_waits(self) -> None:
        """A thread's set ends a wait that has begun."""
        wakeup = Wakeup()
        timer = threading.Timer(0.05, wakeup.set)
        timer.start()
        assert await wakeup.wait(WAIT_S)
        timer.join()

    async def test_many_sets_are_one_wake_up(self) -> None:
        """Nothing queues: once taken, none of a thousand is left."""
        wakeup = Wakeup()
        for _ in range(1000):
            wakeup.set()
        assert await wakeup.wait()
        wakeup.clear()
        await asyncio.sleep(0)
        assert not wakeup.is_set()
        assert not await wakeup.wait(0.01)

    async def test_wait_ends_by_its_time(self) -> None:
        """None comes: the wait says so."""
        assert not await Wakeup().wait(0.01)

    async def test_cancelled_wait_is_cancelled(self) -> None:
        """A cancelled task does not take its cancellation for a time that is over."""
        task = asyncio.create_task(Wakeup().wait(WAIT_S))
        await asyncio.sleep(0)
        task.cancel()
        assert isinstance((await asyncio.gather(task, return_exceptions=True))[0], asyncio.CancelledError)

    async def test_no_change_of_many_threads_is_overlooked(self) -> None:
        """Who clears before the look sees the last change of every thread, however they interleave."""
        wakeup = Wakeup()
        changes = [0] * 4

        def change(thread: int) -> None:
            for _ in range(2000):
                changes[thread] += 1
                wakeup.set()

        threads = [threading.Thread(target=change, args=(n,)) for n in range(len(changes))]
        for thread in threads:
            thread.start()
        seen = 0
        while seen < 2000 * len(changes):
            assert await wakeup.wait(WAIT_S)
            wakeup.clear()
            seen = sum(changes)
        for thread in threads:
            thread.join()

    def test_set_after_the_loop_was_closed_is_harmless(self) -> None:
        """Whoever waited there is gone; the next loop hears of it."""
        wakeup = Wakeup()
        loop = asyncio.new_event_loop()
        waiting = loop.create_task(wakeup.wait())
        loop.run_until_complete(asyncio.sleep(0))
        waiting._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 - left behind on purpose
        loop.close()
        wakeup.set()
        assert asyncio.run(wakeup.wait(0))


class TestBackoff:
    @given(first_s=st.floats(0.01, 10), last_s=st.floats(0.01, 1000))
    def test_pauses_stay_within_their_bounds(self, first_s: float, last_s: float) -> None:
        """The n-th pause is between 0 and first_s * 2**n, never longer than the last one, for ever."""
        backoff = Backoff(first_s, last_s)
        for n in range(1, 2000):
            assert 0 <= backoff.next() <= min(last_s, first_s * 2**n if n < 100 else last_s)
            assert backoff.failures == n

    def test_reset_begins_anew(self) -> None:
        """After a success the first pause is short again."""
        backoff = Backoff(1, 1000)
        for _ in range(50):
            backoff.next()
        backoff.reset()
        assert backoff.next() <= 2

    def test_jitter_is_a_fifth(self) -> None:
        """A fleet spreads, and no process waits much longer than was asked for."""
        drawn = [jittered(10) for _ in range(1000)]
        assert 8 <= min(drawn) < 9
        assert 11 < max(drawn) <= 12
