"""Whatever becomes of the log, the engine goes on and the other observers hear every event."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import pytest

from liverouter.events import ClientClosed, Event
from liverouter.logs import LogObserver, logging_bus

FULL = Path("/dev/full")
ENDED = ClientClosed("1")


class Broken:
    """An application's log that cannot be written."""

    def __getattr__(self, level: str) -> object:
        raise OSError(f"no room for {level}")


class TestEmit:
    @pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
    def test_full_disk_under_the_log_is_no_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nobody can be told, and nobody else is kept from hearing it."""
        heard: list[Event] = []
        with contextlib.suppress(OSError), FULL.open("w", buffering=1) as stderr:  # what was not written fails again
            monkeypatch.setattr(sys, "stderr", stderr)
            logging_bus(heard.append).emit(ENDED)
            monkeypatch.undo()
        assert heard == [ENDED]

    def test_log_that_raises_even_while_that_is_logged_is_no_error(self) -> None:
        """Nothing leaves `emit`, be it the first time or the second."""
        heard: list[Event] = []
        bus = logging_bus(heard.append, log=LogObserver(Broken()))
        bus.emit(ENDED)
        bus.emit(ENDED)
        assert heard == [ENDED, ENDED]
