"""What systemd is told: ready, reloading, stopping, alive. Silent where systemd did not start the process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_PINGS_PER_PERIOD: Final = 2  # sd_watchdog_enabled(3) asks for half of the period
_PERIOD: Final = re.compile(r"[0-9]{1,20}")  # microseconds


class Notifier:
    """Sends the sd_notify(3) messages of one process; a message that cannot be sent is dropped.

    Attributes:
        watchdog_s: seconds within which systemd expects the next sign of life; None where it expects none.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        """Read NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID from *environ*, by default the process's own."""
        environ = os.environ if environ is None else environ
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        period = environ.get("WATCHDOG_USEC", "")
        meant_for_us = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        usable = self._address and meant_for_us and _PERIOD.fullmatch(period)
        self.watchdog_s = (int(period) / 1e6 or None) if usable else None  # sd_watchdog_enabled(3) refuses 0, too

    def ready(self, status: str) -> None:
        """Say that the process serves; *status* is what `systemctl status` shows."""
        self._send(f"READY=1\nSTATUS={status}")

    def status(self, status: str) -> None:
        """Change what `systemctl status` shows."""
        self._send(f"STATUS={status}")

    def reloading(self) -> None:
        """Say that a reload began; `ready` ends it. The timestamp is what `Type=notify-reload` waits for."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """Say that the process ends."""
        self._send("STOPPING=1")

    async def watch(self) -> None:
        """Send signs of life until cancelled; returns at once where none is expected.

        To be run in the loop that serves, since a loop that hangs is what the watchdog is for.
        """
        if self.watchdog_s is None:
            return
        while True:
            self._send("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_s / _PINGS_PER_PERIOD)

    def _send(self, message: str) -> None:
        """Send *message* without waiting; dropped where nobody listens or the buffer is full."""
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.settimeout(0)
            channel.connect(self._address)
            channel.send(message.encode())
