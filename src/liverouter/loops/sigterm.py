"""A last word before SIGTERM ends a process that has no handler for it: a script, a worker of one's own.

Such a process is ended by the kernel at once, without Python's exit hooks. With a last word it is ended by the same
signal, a moment later. An application's own handler is never replaced, and replaces ours whenever it is set.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_PATIENCE_S: Final = 2.0  # for the last word, whatever it waits for
_INIT: Final = 1  # the kernel ends no process of this id by a signal that it does not handle
_words: Final[list[Callable[[], None]]] = []
_asked: Final[list[Any]] = []  # what the interpreter will call


def before_sigterm(say: Callable[[], None]) -> None:
    """Have *say* called, on a thread of its own, before SIGTERM ends this process; it has `_PATIENCE_S` seconds.

    From any thread. Nothing happens where SIGTERM is handled or ignored, in a container's first process, or where the
    main thread runs no Python code.
    """
    if say not in _words:
        _words.append(say)
    if threading.current_thread() is threading.main_thread():
        _handle()
    elif not _asked:
        _ask_main_thread()


def _handle() -> None:
    """On the main thread: handle SIGTERM where nobody does."""
    with contextlib.suppress(ValueError):  # in a subinterpreter
        if os.getpid() != _INIT and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, _end)


def _ask_main_thread() -> None:
    """Have the interpreter call `_handle` between two steps of the main thread: only there that is allowed."""
    with contextlib.suppress(ImportError, AttributeError):  # a Python without ctypes, or another one than CPython
        import ctypes

        def handle(_: object) -> int:
            _handle()
            return 0

        _asked.append(ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(handle))
        ctypes.pythonapi.Py_AddPendingCall(_asked[0], None)


def _end(number: int, _frame: object) -> None:
    """Have the last words said, then end this process as if there had been none; a second SIGTERM ends it at once.

    The words are said on another thread: this one may hold a lock that they need, and would then wait for itself.
    """
    signal.signal(number, signal.SIG_DFL)
    with contextlib.suppress(RuntimeError):  # no thread can be started while the interpreter ends
        speaker = threading.Thread(target=_speak, name="liverouter-goodbye", daemon=True)
        speaker.start()
        speaker.join(_PATIENCE_S)
    os.kill(os.getpid(), number)


def _speak() -> None:
    for say in _words:
        with contextlib.suppress(Exception):  # the process ends either way
            say()
