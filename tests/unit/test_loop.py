"""Callers on any thread or loop use one background loop as if it were their own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import gc
import inspect
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
from langchain_core.runnables.config import run_in_executor

from liverouter.errors import ClosedError, LiveRouterError
from liverouter.loops import fork
from liverouter.loops.handoff import Blocking
from liverouter.loops.thread import LoopThread
from tests.kit.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine, Iterator

WAIT_S = 60.0
who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


class Work:
    """Something to await on the loop, which tells what happened to it."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.cancelled = threading.Event()
        self.closed = threading.Event()
        self.produced = 0

    async def for_ever(self) -> None:
        """Wait until cancelled."""
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def numbers(self, count: int, pause_after: int | None = None) -> AsyncGenerator[int, None]:
        """Count, and wait for ever before the number *pause_after*."""
        try:
            for number in range(count):
                if number == pause_after:
                    await self.for_ever()
                self.produced += 1
                yield number
        finally:
            self.closed.set()

    async def numbers_then_error(self) -> AsyncGenerator[int, None]:
        """Yield one number and break."""
        yield 1
        raise KeyError("lost")


async def ident() -> int:
    """Return the thread it runs in."""
    return threading.get_ident()


async def name() -> str:
    """Return what the context says."""
    return who.get()


async def failing() -> None:
    """Break."""
    raise KeyError("lost")


@pytest.fixture
def io() -> Iterator[LoopThread]:
    """Return a running loop, which must stop in time."""
    loop = LoopThread("test-io")
    yield loop
    assert loop.stop(WAIT_S)


@pytest.fixture
def work() -> Work:
    """Return something to do."""
    return Work()


class TestCall:
    def test_call_runs_on_the_loops_thread(self, io: LoopThread) -> None:
        """A sync call runs in the background thread and returns here."""
        assert io.call(ident) != threading.get_ident()
        assert io.call(ident) == io.call(ident)

    def test_submit_in_the_middle_of_a_submit_does_not_wait_for_itself(self, io: LoopThread) -> None:
        """Garbage may be collected at any point, and finalisers submit: a model's connections close on the loop."""
        threads: list[int] = []

        def interrupted() -> Coroutine[Any, Any, int]:
            io.submit(ident).add_done_callback(lambda done: threads.append(done.result()))
            return ident()

        caller = threading.Thread(target=lambda: threads.append(io.call(interrupted)), daemon=True)
        caller.start()
        caller.join(WAIT_S)
        assert len(threads) == 2
        assert len({*threads}) == 1

    def test_call_raises_what_the_coroutine_raised(self, io: LoopThread) -> None:
        """An error crosses the bridge as it is."""
        with pytest.raises(KeyError, match="lost"):
            io.call(failing)

    @pytest.mark.parametrize("leave", [SystemExit, KeyboardInterrupt])
    def test_call_that_leaves_the_program_leaves_the_loop_alone(
        self, io: LoopThread, work: Work, leave: type[BaseException]
    ) -> None:
        """Its caller gets what it raised, and everybody else is served on: nobody waits for a loop that ended."""
        caught: list[BaseException] = []

        async def leaving() -> None:
            raise leave("now")

        def caller() -> None:
            try:
                io.call(leaving)
            except BaseException as exc:  # noqa: BLE001 - the very ones that pass by `except Exception`
                caught.append(exc)

        other = io.submit(work.for_ever)
        thread = threading.Thread(target=caller, daemon=True)
        thread.start()
        thread.join(WAIT_S)
        assert [type(exc) for exc in caught] == [leave]
        assert io.call(ident)
        assert not other.done()

    def test_call_sees_the_callers_context(self, io: LoopThread) -> None:
        """Context variables of the caller, tracing's among them, are visible inside."""
        who.set("caller")
        assert io.call(name) == "caller"

    def test_call_from_the_loop_itself_is_refused(self, io: LoopThread) -> None:
        """A blocking call on the loop would wait for itself: it is an error, not a deadlock."""

        async def nested() -> None:
            io.call(ident)

        with pytest.raises(LiveRouterError) as caught:
            io.call(nested)
        assert caught.value.code == "LR406"

    def test_call_inside_another_running_loop_works(self, io: LoopThread) -> None:
        """A notebook calls sync code inside its own loop: that works."""

        async def notebook() -> int:
            return io.call(ident)

        assert asyncio.run(notebook()) != threading.get_ident()

    def test_interrupted_call_cancels_the_work(self, io: LoopThread, work: Work) -> None:
        """Ctrl-C in a waiting caller ends what it waited for."""
        waiting = threading.main_thread().ident or 0

        def interrupt() -> None:
            assert work.begun.wait(WAIT_S)
            until(lambda: sys._current_frames()[waiting].f_code is Blocking.result.__code__)  # noqa: SLF001
            os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            io.call(work.for_ever)
        thread.join()
        assert work.cancelled.wait(WAIT_S)

    def test_what_is_short_needs_no_thread(self, io: LoopThread) -> None:
        """What takes less time than the way to a thread and back runs on the loop; anything else in a thread."""

        def _create_chat_result() -> int:
            return threading.get_ident()

        def another() -> int:
            return threading.get_ident()

        assert io.call(run_in_executor, None, _create_chat_result) == io.call(ident)
        assert io.call(run_in_executor, None, another) != io.call(ident)

    def test_many_threads_call_at_once(self, io: LoopThread) -> None:
        """Calls of many threads run side by side on the one loop."""
        gate = asyncio.Barrier(8)

        async def meet() -> int:
            async with asyncio.timeout(WAIT_S):
                await gate.wait()
            return threading.get_ident()

        with ThreadPoolExecutor(8) as pool:
            idents = list(pool.map(lambda _: io.call(meet), range(8)))
        assert len(set(idents)) == 1


class TestIterate:
    def test_iterate_yields_everything_in_order(self, io: LoopThread, work: Work) -> None:
        """A sync caller reads an async stream whole, more than the buffer holds."""
        assert list(io.iterate(work.numbers, 1000)) == list(range(1000))
        assert work.closed.is_set()

    def test_iterate_stops_producing_when_nobody_reads(self, io: LoopThread, work: Work) -> None:
        """A stream runs only so far ahead of its reader."""
        numbers = io.iterate(work.numbers, 10_000)
        assert next(numbers) == 0
        until(lambda: work.produced >= 64)
        for _ in range(100):
            io.call(ident)  # turns in which it could go on
        assert 64 <= work.produced <= 70
        assert list(numbers) == list(range(1, 10_000))

    def test_iterate_closed_early_cancels_the_stream(self, io: LoopThread, work: Work) -> None:
        """Leaving a stream early ends it on the loop, also where it waits for more."""
        numbers = io.iterate(work.numbers, 10, 2)
        assert [next(numbers), next(numbers)] == [0, 1]
        assert work.begun.wait(WAIT_S)
        numbers.close()
        assert work.cancelled.wait(WAIT_S)
        assert work.closed.wait(WAIT_S)

    def test_iterate_dropped_cancels_the_stream(self, io: LoopThread, work: Work) -> None:
        """So does forgetting it."""
        numbers = io.iterate(work.numbers, 10, 2)
        next(numbers)
        assert work.begun.wait(WAIT_S)
        del numbers
        gc.collect()
        assert work.closed.wait(WAIT_S)

    def test_iterate_raises_after_what_was_yielded(self, io: LoopThread, work: Work) -> None:
        """An error in the stream comes after its items."""
        numbers = io.iterate(work.numbers_then_error)
        assert next(numbers) == 1
        with pytest.raises(KeyError, match="lost"):
            next(numbers)


class TestAcall:
    def test_acall_runs_on_the_loops_thread(self, io: LoopThread) -> None:
        """A caller on another loop awaits work of this one."""

        async def caller() -> int:
            return await io.acall(ident)

        assert asyncio.run(caller()) == io.call(ident)

    def test_acall_from_the_loop_itself_runs_directly(self, io: LoopThread) -> None:
        """On the loop there is nothing to cross."""

        async def nested() -> int:
            return await io.acall(ident)

        assert io.call(nested) == io.call(ident)

    def test_coroutine_that_a_thread_makes_too_late_is_closed(self, io: LoopThread) -> None:
        """What a cancelled caller had a pool's thread make, and nobody awaits any more, leaves no warning."""
        asked, go_on = threading.Event(), threading.Event()
        made: list[Coroutine[Any, Any, None]] = []

        def make() -> Coroutine[Any, Any, None]:
            asked.set()
            go_on.wait(WAIT_S)
            made.append(asyncio.sleep(0))
            return made[-1]

        async def call() -> None:
            await (await asyncio.get_running_loop().run_in_executor(None, make))

        future = io.submit(call)
        assert asked.wait(WAIT_S)
        future.cancel()
        io.call(asyncio.sleep, 0)  # the loop has heard of it
        go_on.set()
        until(lambda: made and inspect.getcoroutinestate(made[0]) == inspect.CORO_CLOSED)
        io.call(call)  # one that is awaited is left alone
        assert len(made) == 2

    def test_coroutine_that_arrives_with_the_cancellation_is_closed(self, io: LoopThread) -> None:
        """The thread was done, and whoever waits for it is cancelled before he is told."""
        made: list[Coroutine[Any, Any, None]] = []

        def make() -> Coroutine[Any, Any, None]:
            made.append(asyncio.sleep(0))
            return made[-1]

        async def call() -> None:
            task, arrived = asyncio.current_task(), asyncio.get_running_loop().run_in_executor(None, make)
            assert task is not None
            arrived.add_done_callback(lambda _: task.cancel())
            await (await arrived)

        with pytest.raises(concurrent.futures.CancelledError):
            io.submit(call).result(WAIT_S)
        until(lambda: inspect.getcoroutinestate(made[0]) == inspect.CORO_CLOSED)

    def test_what_no_thread_can_be_had_for_is_called_once(
        self, io: LoopThread, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The pool keeps it for a thread that it has: the caller is told, and nothing of ours calls it as well."""
        called: list[int] = []
        busy = threading.Event()

        def refuse(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        async def call() -> None:
            loop = asyncio.get_running_loop()
            with ThreadPoolExecutor(2) as pool:
                first = loop.run_in_executor(pool, busy.wait)
                try:
                    with monkeypatch.context() as patch:
                        patch.setattr(threading.Thread, "start", refuse)
                        with pytest.raises(RuntimeError, match="new thread"):
                            await loop.run_in_executor(pool, called.append, 1)
                finally:
                    busy.set()
                await first

        io.submit(call).result(WAIT_S)
        assert called == [1]

    def test_acall_cancelled_cancels_the_work(self, io: LoopThread, work: Work) -> None:
        """Cancelling the caller's task ends what it awaits."""

        async def caller() -> None:
            task = asyncio.create_task(io.acall(work.for_ever))
            await asyncio.to_thread(work.begun.wait, WAIT_S)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(caller())
        assert work.cancelled.wait(WAIT_S)

    def test_acall_sees_the_callers_context(self, io: LoopThread) -> None:
        """Context variables cross here too."""

        async def caller() -> str:
            who.set("async caller")
            return await io.acall(name)

        assert asyncio.run(caller()) == "async caller"


class TestAiterate:
    def test_aiterate_yields_everything_in_order(self, io: LoopThread, work: Work) -> None:
        """An async caller on another loop reads a stream whole."""

        async def caller() -> list[int]:
            return [number async for number in io.aiterate(work.numbers, 1000)]

        assert asyncio.run(caller()) == list(range(1000))

    def test_aiterate_from_the_loop_itself_runs_directly(self, io: LoopThread, work: Work) -> None:
        """On the loop it is the generator itself."""

        async def nested() -> list[int]:
            return [number async for number in io.aiterate(work.numbers, 3)]

        assert io.call(nested) == [0, 1, 2]

    def test_aiterate_stops_producing_when_nobody_reads(self, io: LoopThread, work: Work) -> None:
        """A slow async reader holds the stream back."""

        async def caller() -> None:
            numbers = io.aiterate(work.numbers, 10_000)
            assert await anext(numbers) == 0
            for _ in range(200):
                await io.acall(ident)
            assert 64 <= work.produced <= 70
            assert [number async for number in numbers] == list(range(1, 10_000))

        asyncio.run(caller())

    def test_aiterate_wakes_the_reader_once_for_all_that_came(
        self, io: LoopThread, work: Work, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What a stream yields without waiting crosses the loops together; so does the word that it has ended."""

        async def caller() -> Any:
            loop = asyncio.get_running_loop()
            wake = Mock(wraps=loop.call_soon_threadsafe)
            monkeypatch.setattr(loop, "call_soon_threadsafe", wake)
            assert [number async for number in io.aiterate(work.numbers, 50)] == list(range(50))
            return wake.call_count

        assert asyncio.run(caller()) == 2

    def test_aiterate_hands_over_what_came_before_a_wait(self, io: LoopThread, work: Work) -> None:
        """Nothing is kept back until there is more."""

        async def caller() -> list[int]:
            numbers = io.aiterate(work.numbers, 10, 3)
            seen = [await anext(numbers) for _ in range(3)]
            assert await asyncio.to_thread(work.begun.wait, WAIT_S)
            await numbers.aclose()
            return seen

        assert asyncio.run(caller()) == [0, 1, 2]

    def test_aiterate_closed_early_cancels_the_stream(self, io: LoopThread, work: Work) -> None:
        """Leaving a stream early ends it on the loop."""

        async def caller() -> None:
            numbers = io.aiterate(work.numbers, 10, 2)
            assert [await anext(numbers), await anext(numbers)] == [0, 1]
            await numbers.aclose()

        asyncio.run(caller())
        assert work.closed.wait(WAIT_S)

    def test_aiterate_cancelled_cancels_the_stream(self, io: LoopThread, work: Work) -> None:
        """Cancelling a waiting reader ends the stream."""

        async def read() -> None:
            async for _ in io.aiterate(work.numbers, 10, 2):
                pass

        async def caller() -> None:
            task = asyncio.create_task(read())
            await asyncio.to_thread(work.begun.wait, WAIT_S)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(caller())
        assert work.cancelled.wait(WAIT_S)

    def test_aiterate_raises_after_what_was_yielded(self, io: LoopThread, work: Work) -> None:
        """An error in the stream comes after its items."""

        async def caller() -> list[int]:
            numbers = io.aiterate(work.numbers_then_error)
            seen = [await anext(numbers)]
            with pytest.raises(KeyError, match="lost"):
                await anext(numbers)
            return seen

        assert asyncio.run(caller()) == [1]


class TestComplaints:
    @pytest.mark.parametrize(
        ("error", "as_task", "said"),
        [
            (ConnectionError("unexpected connection_lost() call"), False, False),
            (ConnectionError("of work that somebody began"), True, True),
            (ValueError("of a library"), False, True),
        ],
    )
    def test_lost_connection_that_nobody_waits_for_is_passed_over(
        self, io: LoopThread, caplog: pytest.LogCaptureFixture, error: Exception, *, as_task: bool, said: bool
    ) -> None:
        """What is left of a connect that was given up is no news; any other error that is forgotten is."""

        async def fail() -> None:
            raise error

        async def forget() -> None:
            left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            if as_task:
                left = asyncio.ensure_future(fail())
                await asyncio.wait([left])
            else:
                left.set_exception(error)
            del left
            gc.collect()

        io.call(forget)
        complaints = [record for record in caplog.records if record.exc_info and record.exc_info[1] is error]
        assert bool(complaints) is said


class TestStop:
    def test_stop_ends_thread_tasks_and_waiting_callers(self, work: Work) -> None:
        """Stopping cancels what runs; a caller who still waits learns that the client is closed."""
        io = LoopThread("test-stop")
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(io.call, work.for_ever)
            assert work.begun.wait(WAIT_S)
            assert io.stop(WAIT_S)
            with pytest.raises(ClosedError):
                waiting.result(WAIT_S)
        assert work.cancelled.is_set()
        assert "test-stop" not in {thread.name for thread in threading.enumerate()}

    def test_stop_tells_waiting_async_callers(self, work: Work) -> None:
        """An async caller gets ClosedError as well, and is not cancelled himself."""
        io = LoopThread("test-stop")

        async def caller() -> None:
            waiting = asyncio.create_task(io.acall(work.for_ever))
            await asyncio.to_thread(work.begun.wait, WAIT_S)
            await asyncio.to_thread(io.stop, WAIT_S)
            with pytest.raises(ClosedError):
                await waiting

        asyncio.run(caller())

    def test_stop_tells_readers_of_streams(self, work: Work) -> None:
        """So does a reader of a stream."""
        io = LoopThread("test-stop")
        numbers = io.iterate(work.numbers, 10, 2)
        assert [next(numbers), next(numbers)] == [0, 1]
        assert io.stop(WAIT_S)
        with pytest.raises(ClosedError):
            next(numbers)

    def test_stop_tells_async_readers_of_streams(self, work: Work) -> None:
        """One on another loop has what was yielded, then the same error."""
        io = LoopThread("test-stop")

        async def caller() -> list[int]:
            numbers = io.aiterate(work.numbers, 10, 2)
            seen = [await anext(numbers)]
            await asyncio.to_thread(work.begun.wait, WAIT_S)
            await asyncio.to_thread(io.stop, WAIT_S)
            seen.append(await anext(numbers))
            with pytest.raises(ClosedError):
                await anext(numbers)
            return seen

        assert asyncio.run(caller()) == [0, 1]

    def test_stopped_loop_refuses_work(self) -> None:
        """Nothing is accepted afterwards, and nothing is left un-awaited."""
        io = LoopThread("test-stop")
        assert io.stop(WAIT_S)
        assert io.stop(WAIT_S)
        with pytest.raises(ClosedError):
            io.call(ident)
        with pytest.raises(ClosedError):
            list(io.iterate(Work().numbers, 1))
        with pytest.raises(ClosedError):
            asyncio.run(io.acall(ident))

    def test_stop_runs_the_last_steps_once_and_not_those_taken_back(self) -> None:
        """Last steps run on the loop, after the tasks ended."""
        io = LoopThread("test-stop")
        ran: list[str] = []

        async def step() -> None:
            ran.append(threading.current_thread().name)

        async def taken_back() -> None:
            ran.append("never")

        io.at_stop(step)
        io.at_stop(step)
        io.at_stop(taken_back)()
        assert io.stop(WAIT_S)
        assert ran == ["test-stop"]

    @pytest.mark.parametrize("error", [KeyError, SystemExit, asyncio.CancelledError])
    def test_last_step_that_fails_is_told_and_holds_nobody_up(
        self, caplog: pytest.LogCaptureFixture, error: type[BaseException]
    ) -> None:
        """Each closes connections of its own: those of the others are closed all the same."""
        io = LoopThread("test-stop")
        ran: list[str] = []

        async def failing_step() -> None:
            raise error("lost")

        async def step() -> None:
            ran.append(threading.current_thread().name)

        io.at_stop(failing_step)
        io.at_stop(step)
        assert io.stop(WAIT_S)
        assert ran == ["test-stop"]
        assert "a last step failed" in caplog.text

    def test_stop_from_the_loop_itself_is_refused(self, io: LoopThread) -> None:
        """The loop cannot wait for its own end."""

        async def nested() -> None:
            io.stop(WAIT_S)

        with pytest.raises(LiveRouterError) as caught:
            io.call(nested)
        assert caught.value.code == "LR406"


class TestFork:
    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    def test_forked_child_makes_its_own_loop(self, io: LoopThread) -> None:
        """A child leaves the inherited loop alone, and a new one of its own works there, under another identity."""
        assert io.call(ident)
        inherited = id(io._loop)  # noqa: SLF001 - what must not be reused has no public name
        child = os.fork()
        if child == 0:
            status = 1
            try:
                own = LoopThread("child-io")
                status = 0 if own.call(ident) and id(own._loop) != inherited and own.stop(WAIT_S) else 2  # noqa: SLF001
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert io.call(ident)

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    def test_child_of_a_fork_that_did_not_wait_is_not_locked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Another thread imports for longer than a fork waits for it: that thread's lock is not for the child."""
        monkeypatch.setattr(fork, "_PATIENCE_S", 0.05)
        held, done = threading.Event(), threading.Event()

        def hold() -> None:
            with fork.unforkable():
                held.set()
                done.wait(WAIT_S)

        with ThreadPoolExecutor(1) as pool:
            holder = pool.submit(hold)
            held.wait(WAIT_S)
            child = os.fork()
            if child == 0:
                signal.alarm(int(WAIT_S))
                with fork.unforkable():
                    os._exit(0)
            done.set()
            holder.result()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        with fork.unforkable():
            pass

    def test_loops_that_begin_during_a_fork_do_not_disturb_it(self) -> None:
        """Another thread makes a client at that very time."""
        enough = threading.Event()

        class Loop:
            pass  # gone as soon as nobody holds it: a later fork would wait for it

        def begin() -> None:
            kept: list[Any] = []
            while not enough.is_set():
                kept.append(Loop())
                fork.watch(kept[-1], threading.current_thread())
                del kept[:-1000]

        with ThreadPoolExecutor(1) as pool:
            beginner = pool.submit(begin)
            try:
                for _ in range(2000):
                    fork._watched()  # noqa: SLF001 - a fork in each round would take minutes
            finally:
                enough.set()
            beginner.result()


AFTER_MAIN = """
import asyncio, atexit, threading
from liverouter.loops.thread import LoopThread

io = LoopThread("io")

def work():
    threading.main_thread().join()  # by then the interpreter has ended every pool of threads
    print(io.call(asyncio.to_thread, "a".upper))
    try:
        io.call(asyncio.to_thread, int, "b")
    except ValueError:
        print("B")
    io.call(give_up)  # says nothing

async def give_up():
    enough = threading.Event()
    asyncio.get_running_loop().run_in_executor(None, enough.wait).cancel()
    await asyncio.sleep(0)  # in which the cancellation goes on to the thread
    enough.set()
    for thread in threading.enumerate():
        if thread.name == "liverouter-last":
            thread.join()

async def resolve():
    return (await asyncio.get_running_loop().getaddrinfo("localhost", 80))[0][4][1]

def leave():
    print(io.call(resolve))
    print(io.stop(60))

atexit.register(leave)
threading.Thread(target=work).start()
"""


def test_work_goes_on_when_the_main_thread_has_ended() -> None:
    """Threads that outlive it make calls, and so do exit hooks: both resolve names and wait for libraries' threads."""
    done = subprocess.run([sys.executable, "-c", AFTER_MAIN], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["A", "B", "80", "True"], "")
