"""An event loop in a thread of its own, and the bridges by which callers on any thread or loop use it.

Every provider call runs on one such loop, whoever makes it: litellm keeps clients per loop, so a loop per call would
mean a TCP connection per call, and descriptors that only leave after minutes.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import inspect
import threading
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from liverouter.errors import ClosedError, LiveRouterError
from liverouter.loops import fork as loop_fork
from liverouter.loops.green import refuse_green_threads
from liverouter.loops.handoff import Awaited, Blocking
from liverouter.loops.streaming import aread, read
from liverouter.secrecy.leaving import bare

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator

P = ParamSpec("P")
T = TypeVar("T")
H = TypeVar("H", Blocking[Any], Awaited[Any])

# LangChain's functions that take less time than the way to a thread and back.
_SHORT: Final = frozenset({"_create_chat_result"})  # makes a message of OpenAI's answer


class LoopThread:
    """One asyncio loop in a daemon thread, from construction until `stop`.

    `call` and `iterate` are for sync callers, `acall` and `aiterate` for callers on any loop. The caller's context
    variables are visible inside; cancelling or dropping the caller cancels what it waits for. The owner makes a new one
    after a fork; the inherited one is dead there and must not be touched.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        """Start the thread *name*; blocks for a millisecond.

        Raises:
            LiveRouterError: threads are greenlets here, of which no two can run a loop (LR409).
            RuntimeError: this process can have no more threads.
        """
        refuse_green_threads()
        self.name = name
        self._loop = _new_loop()
        # Held to submit and to begin the end, so that nothing is submitted behind the end. Reentrant, because a submit
        # may be interrupted by the garbage collector, and a finaliser submits.
        self._lock = threading.RLock()
        self._closing = False
        self._last_steps: dict[Callable[[], Awaitable[None]], None] = {}
        started = threading.Event()
        self._loop.call_soon(started.set)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            self._loop.close()
            raise
        started.wait()
        loop_fork.watch(self._loop, self._thread)

    def __repr__(self) -> str:
        """Name the loop and say whether it runs."""
        return f"<LoopThread {self.name} {'closed' if self._closing else 'running'}>"

    def is_current(self) -> bool:
        """Tell whether the caller runs on this loop."""
        return threading.get_ident() == self._thread.ident

    def submit(
        self, fn: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> concurrent.futures.Future[T]:
        """Start ``fn(*args, **kwargs)`` on the loop and return its future at once; cancelling that cancels the work.

        Raises:
            ClosedError: the loop was stopped.
        """
        with self._lock:
            if self._closing:
                raise ClosedError
            return asyncio.run_coroutine_threadsafe(fn(*args, **kwargs), self._loop)

    def call(self, fn: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``fn(*args, **kwargs)`` on the loop and return its result; blocks the calling thread.

        Raises:
            LiveRouterError: the caller is on this very loop, and would wait for itself for ever (LR406).
            ClosedError: the loop was stopped.
        """
        self._refuse_own_thread()
        try:
            return self._hand_over(Blocking, fn(*args, **kwargs)).result()  # type: ignore[no-any-return]  # a T
        except asyncio.CancelledError:
            raise self._ended() from None

    def iterate(
        self, fn: Callable[P, AsyncGenerator[T, None]], *args: P.args, **kwargs: P.kwargs
    ) -> Generator[T, None, None]:
        """Yield what the async generator ``fn(*args, **kwargs)`` yields; blocks the calling thread between items.

        The generator runs on the loop, at most 64 items ahead of the reader. Closing early, or dropping the iterator,
        cancels it there. Raises as `call` does.
        """
        self._refuse_own_thread()
        try:
            yield from read(self.submit, fn(*args, **kwargs))
        except concurrent.futures.CancelledError:
            raise self._ended() from None

    async def acall(self, fn: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``fn(*args, **kwargs)`` on the loop and return its result, from whichever loop; direct when on it.

        Raises:
            ClosedError: the loop was stopped.
        """
        if self.is_current():
            return await fn(*args, **kwargs)
        try:
            return await self._hand_over(Awaited, fn(*args, **kwargs)).result()  # type: ignore[no-any-return]  # a T
        except asyncio.CancelledError:
            if self._closing and not _is_cancelled():
                raise self._ended() from None
            raise

    def aiterate(
        self, fn: Callable[P, AsyncGenerator[T, None]], *args: P.args, **kwargs: P.kwargs
    ) -> AsyncGenerator[T, None]:
        """Yield what the async generator ``fn(*args, **kwargs)`` yields, as `iterate` does, from whichever loop."""
        source = fn(*args, **kwargs)
        return source if self.is_current() else aread(self.submit, source, self._ended)

    def at_stop(self, step: Callable[[], Awaitable[None]]) -> Callable[[], object]:
        """Have *step* awaited on the loop when it stops, after every task has ended; return what takes that back.

        Adding it again changes nothing. Steps run in the order they were added; one that fails holds up no other.
        """
        self._last_steps[step] = None
        return lambda: self._last_steps.pop(step, None)

    def stop(self, timeout_s: float) -> bool:
        """Cancel every task, run the last steps, close the loop and end the thread; idempotent.

        Blocks up to *timeout_s* seconds and returns whether the thread ended. Callers that still wait get ClosedError.

        Raises:
            LiveRouterError: called on the loop itself (LR406).
        """
        self._refuse_own_thread()
        with self._lock:
            first, self._closing = not self._closing, True
        if first:
            self._loop.call_soon_threadsafe(lambda: self._loop.create_task(self._end()))
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _hand_over(self, kind: Callable[[asyncio.AbstractEventLoop, Any], H], coroutine: Coroutine[Any, Any, Any]) -> H:
        """Start *coroutine* on the loop and return its handoff of *kind* at once.

        Raises:
            ClosedError: the loop was stopped.
        """
        with self._lock:
            if self._closing:
                coroutine.close()
                raise ClosedError
            handoff = kind(self._loop, coroutine)
            self._loop.call_soon_threadsafe(handoff.begin)
            return handoff

    def _run(self) -> None:
        """Run the loop until `_end` stops it; the thread's target.

        A task that raises SystemExit or KeyboardInterrupt would end the loop under everybody: whoever waits for that
        task gets what it raised, and the loop goes on.
        """
        asyncio.set_event_loop(self._loop)
        stopped = False
        try:
            while not stopped:
                with contextlib.suppress(SystemExit, KeyboardInterrupt):
                    self._loop.run_forever()
                    stopped = True
        finally:
            asyncio.set_event_loop(None)
            self._loop.close()

    async def _end(self) -> None:
        """On the loop: cancel every other task until all have ended, run the last steps, and stop the loop."""
        try:
            while others := [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]:
                for task in others:
                    task.cancel()
                await asyncio.wait(others, timeout=1.0)  # s; then cancelled again, for a task that swallowed it
            for step in list(self._last_steps):
                try:
                    await step()
                except BaseException as exc:  # noqa: BLE001 - whatever one raises, the others have to run
                    self._loop.call_exception_handler({"message": f"{self.name}: a last step failed", "exception": exc})
            await self._loop.shutdown_asyncgens()
            with contextlib.suppress(RuntimeError):  # an ending interpreter starts no thread, which this wants
                await self._loop.shutdown_default_executor()
            await asyncio.sleep(0)  # a transport that was closed above leaves the selector in the next round
        finally:
            self._loop.stop()

    def _refuse_own_thread(self) -> None:
        """Raise the LiveRouterError (LR406) for a caller on this very loop."""
        if self.is_current():
            raise LiveRouterError(
                "a blocking call on the I/O loop would wait for itself",
                code="LR406",
                where=f"thread {self.name}",
                hint="Use the async methods there (ainvoke, astream), or call from another thread.",
            )

    def _ended(self) -> Exception:
        """Return the error for a caller whose work was cancelled: by the loop's end, or by the work itself."""
        return ClosedError() if self._closing else concurrent.futures.CancelledError()


def _new_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop that has work done in other threads, such as resolving a name, to the process's very end."""
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(_complain)
    if isinstance(loop, asyncio.BaseEventLoop):  # others, such as uvloop, resolve in threads of their own
        in_thread = _closing_what_nobody_awaits(loop, _to_the_end(loop, loop.run_in_executor))
        loop.run_in_executor = _at_once_if_short(loop, in_thread)  # type: ignore[assignment, method-assign]
    return loop


def _to_the_end(loop: asyncio.AbstractEventLoop, run_in_executor: Callable[..., Any]) -> Callable[..., Any]:
    """Return a *loop*'s *run_in_executor* that goes on when the interpreter has ended every pool of threads.

    It does that as the main thread ends, while others may still make calls. Then each function has a thread of its own;
    in an exit hook, such as the goodbye to the database, none can be started any more, and the loop calls it.
    """

    def run(executor: Any, fn: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        try:
            return run_in_executor(executor, fn, *args)  # type: ignore[no-any-return]  # as the loop's
        except RuntimeError as exc:
            if "shutdown" not in str(exc):  # no thread is left to be had: the pool has kept it, and calls it later
                raise
        done = concurrent.futures.Future[Any]()
        done.set_running_or_notify_cancel()  # else a cancellation would leave no place for what comes of it

        def call() -> None:
            try:
                done.set_result(fn(*args))
            except BaseException as exc:  # noqa: BLE001 - as a pool's does, it goes to whoever awaits it
                done.set_exception(exc)

        try:
            threading.Thread(target=call, name="liverouter-last", daemon=True).start()
        except RuntimeError:
            call()
        return asyncio.wrap_future(done, loop=loop)

    return run


def _at_once_if_short(loop: asyncio.AbstractEventLoop, run_in_executor: Callable[..., Any]) -> Callable[..., Any]:
    """Return a *loop*'s *run_in_executor* that calls what is `_SHORT` itself."""

    def run(executor: Any, fn: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        if not _is_short(fn):
            return run_in_executor(executor, fn, *args)  # type: ignore[no-any-return]  # as the loop's
        done = loop.create_future()
        try:
            done.set_result(fn(*args))
        except Exception as exc:  # noqa: BLE001 - as a thread's does, it goes to whoever awaits it
            done.set_exception(exc)
        return done

    return run


def _is_short(fn: Callable[..., Any]) -> bool:
    """Tell whether *fn* is what LangChain's own `run_in_executor` makes of one of `_SHORT`: a function around it."""
    wrapper = fn.args[0] if isinstance(fn, functools.partial) and fn.args else None
    cells = getattr(wrapper, "__closure__", None) or ()
    return any(getattr(cell.cell_contents, "__name__", "") in _SHORT for cell in cells)


def _closing_what_nobody_awaits(
    loop: asyncio.AbstractEventLoop, run_in_executor: Callable[..., asyncio.Future[Any]]
) -> Callable[..., Any]:
    """Return a *loop*'s *run_in_executor* that closes a coroutine which its function returns after a cancellation.

    litellm makes the coroutines of its calls in such a thread, and awaits them at once. Nobody awaits the one of a call
    that was cancelled meanwhile, and Python would complain of it.
    """

    def run(executor: Any, fn: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        made: list[Any] = []

        def call() -> Any:
            """In the thread: do the work, and close a coroutine that comes after the cancellation."""
            result = fn(*args)
            if asyncio.iscoroutine(result):
                made.append(result)
                if any(future.cancelled() for future in submitted):
                    result.close()
            return result

        def ended(_: asyncio.Future[Any]) -> None:
            """On the loop: look after the coroutine behind whoever awaits it, as a cancellation may have come first."""
            if made:
                loop.call_soon(_close_unless_begun, made[0])

        submitted: list[asyncio.Future[Any]] = []  # the one future; `call` may run before it is in here
        submitted.append(run_in_executor(executor, call))
        submitted[0].add_done_callback(ended)
        return submitted[0]

    return run


def _close_unless_begun(coroutine: Any) -> None:
    if inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
        coroutine.close()


def _complain(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what a library left behind as asyncio does, but without the frames and requests that hold a key.

    The loop's exception handler. A lost connection that is no task's is passed over: asyncpg cancels a statement over
    a second connection, and where a timeout ends that, leaves the error in a future that nobody awaits.
    """
    if isinstance(context.get("exception"), OSError) and not isinstance(context.get("future"), asyncio.Task | None):
        return
    if (error := context.get("exception")) is not None:
        bare(error)
    loop.default_exception_handler(context)


def _is_cancelled() -> bool:
    """Tell whether somebody has asked to cancel the task that runs this."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
