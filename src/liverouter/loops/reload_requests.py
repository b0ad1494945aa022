"""The requests to read the settings: level-triggered, so that a thousand of them cost one read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from liverouter.events import ReloadRequested
from liverouter.loops.wakeup import Wakeup

if TYPE_CHECKING:
    from liverouter.bus import Bus


class ReloadRequests:
    """What listener, reporter and application ask of the reloader: a read, soon.

    Nothing queues. A request that comes while the settings are read means another read after it.

    Args:
        bus: hears of each request.
    """

    def __init__(self, bus: Bus) -> None:
        """Tell each request to *bus*."""
        self._bus = bus
        self._wakeup = Wakeup()
        self._forced = False

    def request(self, reason: str, *, forced: bool = False) -> None:
        """Ask for a read, for a *reason* of a few words; returns at once. From any thread.

        Where it is *forced*, a rejected revision is tried again, and reported again, though nothing has changed.
        """
        if forced:  # written only then: another thread may have asked at the same time
            self._forced = True
        self._bus.emit(ReloadRequested(reason))
        self._wakeup.set()

    @property
    def pending(self) -> bool:
        """Tell whether a read was asked for since the last `wait`."""
        return self._wakeup.is_set()

    async def wait(self, timeout_s: float) -> bool:
        """Take what is pending, waiting for it up to *timeout_s* seconds; return whether there was anything."""
        pending = await self._wakeup.wait(timeout_s)
        self._wakeup.clear()  # before the read: a later request must mean a later read
        return pending

    def take_forced(self) -> bool:
        """Tell whether a request since the last call of this was forced."""
        if not self._forced:
            return False
        self._forced = False
        return True
