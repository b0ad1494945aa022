"""What systemd's variables make of the notifier."""

from __future__ import annotations

import asyncio

import pytest

from liverouter.daemon.systemd import Notifier

SOCKET = "@liverouter-nobody-listens"


class TestWatchdog:
    @pytest.mark.parametrize("period", ["", "0", "000", "-1", "1e6", "soon", "²", "1" * 5000])
    async def test_period_of_no_use_is_none(self, period: str) -> None:
        """Without a period that can be kept nothing is sent, and the loop is left alone."""
        notifier = Notifier({"NOTIFY_SOCKET": SOCKET, "WATCHDOG_USEC": period})
        assert notifier.watchdog_s is None
        async with asyncio.timeout(60):
            await notifier.watch()

    def test_period_is_in_microseconds(self) -> None:
        """What systemd sets is read in seconds; what is meant for another process, or goes nowhere, is not."""
        said = {"NOTIFY_SOCKET": SOCKET, "WATCHDOG_USEC": "30000000"}
        assert Notifier(said).watchdog_s == 30.0
        assert Notifier(said | {"WATCHDOG_PID": "1"}).watchdog_s is None
        assert Notifier({"WATCHDOG_USEC": "30000000"}).watchdog_s is None
