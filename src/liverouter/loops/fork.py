"""Forks of a process whose background loops run: the parent's go on, the child's are gone and hurt nobody.

Python has no way to ask one loop whether a fork would break it, so these hooks are the process's: every `os.fork`
waits until our loops are between two steps, for a millisecond as a rule and 15 s at the most.
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

_PATIENCE_S: Final = 15.0  # a fork waits this long for an import of litellm, and no longer
_alive: Final[weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, threading.Thread]] = weakref.WeakKeyDictionary()
_inherited: Final[list[asyncio.AbstractEventLoop]] = []
_unforkable: Final = threading.RLock()
_fork = threading.local()  # what the forking thread has to undo afterwards


def watch(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    """Have forks wait for *loop*, which runs in *thread*, for as long as it lives."""
    _alive[loop] = thread


@contextlib.contextmanager
def unforkable() -> Generator[None, None, None]:
    """Let no fork happen inside: what a thread has half done, an import above all, a child could never finish."""
    with _unforkable:
        yield


def _pause() -> None:
    """Before a fork: hold every loop between two of its steps, where it owns no lock and is in no import.

    A child has none of the parent's threads but all of their locks, as they were. Waits for whoever is busy, at most
    `_PATIENCE_S`.
    """
    deadline = time.monotonic() + _PATIENCE_S
    _fork.resume = resume = threading.Event()
    _fork.locked = _unforkable.acquire(timeout=_PATIENCE_S)
    for loop, thread in list(_alive.items()):
        at_rest = threading.Event()
        if thread is not threading.current_thread() and call_soon(loop, _rest, at_rest, resume):
            while not at_rest.wait(0.05) and thread.is_alive() and time.monotonic() < deadline:
                pass


def _rest(at_rest: threading.Event, resume: threading.Event) -> None:
    at_rest.set()
    resume.wait(_PATIENCE_S)


def _resume() -> None:
    """After a fork, in the parent: let the loops go on."""
    _fork.resume.set()
    if _fork.locked:
        _unforkable.release()


def _keep_inherited() -> None:
    """In a forked child: keep the parent's loops for ever. Clients are cached by id(loop), so none may be reused."""
    for loop in list(_alive):
        _inherited.append(loop)
        _detach(loop)
    _alive.clear()
    if _fork.locked:
        _unforkable.release()


def _detach(loop: asyncio.AbstractEventLoop) -> None:
    """Turn every descriptor of an inherited loop into /dev/null.

    Child and parent share sockets and the epoll that watches them: whatever a child's clean-up closes, says goodbye to
    or stops watching (litellm's exit hooks do all three) would be cut off in the parent, which then waits for ever.
    """
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 - they go on, in the parent
    if (selector := getattr(loop, "_selector", None)) is None:
        return
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for descriptor in [*selector.get_map(), selector.fileno()]:
        os.dup2(null, descriptor, inheritable=False)
    os.close(null)


os.register_at_fork(before=_pause, after_in_parent=_resume, after_in_child=_keep_inherited)
