"""Forks of a process in which background loops run: the parent's loops go on, the child's are dead and do no harm.

The hooks are those of the whole process, because Python has none for a single loop: every `os.fork` waits until our
loops are between two steps, for a millisecond as a rule and 15 s at the most.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Final

from liverouter.loops.wakeup import call_soon

if TYPE_CHECKING:
    from collections.abc import Generator

_PATIENCE_S: Final = 15.0  # that a fork waits at most: for an import of litellm, which takes seconds
# The loops of this process and the thread that each runs in.
_alive: Final[weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, threading.Thread]] = weakref.WeakKeyDictionary()
_inherited: Final[list[asyncio.AbstractEventLoop]] = []  # the parent's, in a forked child
_unforkable = threading.RLock()
# Of the fork that a thread is in: `resume`, the Event that lets the loops go on; `locked`, whether it took the lock.
_fork = threading.local()


def watch(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    """Have forks wait for *loop*, which runs in *thread*, for as long as it lives."""
    _alive[loop] = thread


@contextlib.contextmanager
def unforkable() -> Generator[None, None, None]:
    """Have forks of other threads wait for the block: a child could not finish what it has half done, as an import."""
    with _unforkable:
        yield


def _pause() -> None:
    """Before a fork, on the forking thread: hold every loop between two of its steps.

    There it owns no lock and is in no import. A child has none of the parent's threads, but all of their locks as they
    were. Waits at most `_PATIENCE_S` seconds for a loop that is busy, then forks all the same.
    """
    deadline = time.monotonic() + _PATIENCE_S
    _fork.resume = resume = threading.Event()
    _fork.locked = _unforkable.acquire(timeout=_PATIENCE_S)
    for loop, thread in _watched():
        at_rest = threading.Event()
        if thread is not threading.current_thread() and call_soon(loop, _rest, at_rest, resume):
            while not at_rest.wait(0.05) and thread.is_alive() and time.monotonic() < deadline:
                pass


def _watched() -> list[tuple[asyncio.AbstractEventLoop, threading.Thread]]:
    """Return the loops that live now, which other threads may add to meanwhile, and the thread of each."""
    alive = [loop for reference in _alive.keyrefs() if (loop := reference()) is not None]
    return [(loop, _alive[loop]) for loop in alive]


def _rest(at_rest: threading.Event, resume: threading.Event) -> None:
    """On a loop: say so by *at_rest*, then block until *resume*, in case of need no longer than the patience."""
    at_rest.set()
    resume.wait(_PATIENCE_S)


def _resume() -> None:
    """After a fork, in the parent: let the loops go on."""
    _fork.resume.set()
    if _fork.locked:
        _unforkable.release()


def _keep_inherited() -> None:
    """In a forked child: keep the parent's loops for ever, disarmed.

    litellm 1.106 caches clients by ``id(loop)``, so that no new loop may come to have the id of an old one. The lock
    is made anew: where the fork did not wait for who holds it, nobody here ever releases it.
    """
    global _unforkable  # noqa: PLW0603 - the process's
    _unforkable = threading.RLock()
    for loop in list(_alive):
        _inherited.append(loop)
        _detach(loop)
    _alive.clear()


def _detach(loop: asyncio.AbstractEventLoop) -> None:
    """Turn every descriptor of an inherited loop into /dev/null.

    Child and parent share sockets and the epoll that watches them. What the child's clean-up closes, says goodbye to or
    stops watching would be cut off in the parent, which then waits for ever. litellm's exit hooks do all three.
    """
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 - no complaint: it goes on in the parent
    if (selector := getattr(loop, "_selector", None)) is None:
        return
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    own = [selector.fileno()] if hasattr(selector, "fileno") else []  # that of epoll
    for descriptor in [*selector.get_map(), *own]:
        os.dup2(null, descriptor, inheritable=False)
    os.close(null)


os.register_at_fork(before=_pause, after_in_parent=_resume, after_in_child=_keep_inherited)
