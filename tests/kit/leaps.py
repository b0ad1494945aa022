"""Time that passes at once: the clock of a client's I/O loop is put forward, and its timeouts end.

A test of what follows a timeout needs no short one, which would bound the fallback too, however busy the machine is.
"""

from __future__ import annotations

import selectors
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from liverouter.testing import MemoryRouter


def leap(live: MemoryRouter, seconds: float) -> None:
    """Let *seconds* pass at once for all that waits on the I/O loop of *live*."""
    loop: Any = live.io._loop  # noqa: SLF001 - whose clock it is
    ahead = loop.time() - time.monotonic() + seconds

    async def put_forward() -> None:
        loop.time = lambda: time.monotonic() + ahead

    live.io.call(put_forward)


def connecting(live: MemoryRouter) -> int:
    """Return how many connections *live* is waiting for that nobody accepts."""
    loop: Any = live.io._loop  # noqa: SLF001 - whose sockets they are

    async def count() -> int:
        return sum(bool(key.events & selectors.EVENT_WRITE) for key in loop._selector.get_map().values())  # noqa: SLF001

    return live.io.call(count)
