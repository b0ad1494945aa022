"""A last word in processes that end without Python's exit hooks: by SIGTERM, or as a worker that some pool has forked.

A child of multiprocessing's `fork` or `forkserver`, and one of Celery's prefork pool, ends by `os._exit`; either has a
hook of its own for what comes before that.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from liverouter.loops.sigterm import before_sigterm

if TYPE_CHECKING:
    from collections.abc import Callable

_LAST: Final = -100  # among what multiprocessing calls at the end: behind what the application has there
_kept: Final[dict[Callable[[], None], Any]] = {}  # by the last word: multiprocessing's `Finalize` of it


def before_the_end(say: Callable[[], None]) -> None:
    """Have *say* called before this process ends, where Python would not call its exit hooks; from any thread.

    Calling it again changes nothing. A forked child has to call it for itself.
    """
    before_sigterm(say)
    _before_child_ends(say)
    if (signals := sys.modules.get("celery.signals")) is not None:
        signals.worker_process_shutdown.connect(_ignoring(say), weak=False, dispatch_uid=say)


def _before_child_ends(say: Callable[[], None]) -> None:
    """Have *say* called at the end of a child of multiprocessing's; nothing happens in a process that is none."""
    process = sys.modules.get("multiprocessing.process")
    if process is None or process.parent_process() is None:
        return
    from multiprocessing.util import Finalize

    if say not in _kept or not _kept[say].still_active():  # a child forgets what its parent had
        _kept[say] = Finalize(None, say, exitpriority=_LAST)


def _ignoring(say: Callable[[], None]) -> Callable[..., None]:
    """Return *say* as a receiver of Celery's, which gets arguments."""

    def receive(**_: Any) -> None:
        say()

    return receive
