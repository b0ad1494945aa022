"""Time for the database of a test, where the machine stands still for long."""

from __future__ import annotations

from functools import partialmethod
from typing import Final

import pytest

from liverouter.postgres.repository import SettingsRepository

_LONG_S: Final = 120.0


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give connects and statements minutes where a test does not say otherwise, and keep what is idle.

    A module has it by ``patient = patience.patient``.
    """
    names = ("statement_timeout_s", "connect_timeout_s", "idle_s", "max_connection_age_s")
    waiting = partialmethod(SettingsRepository.__init__, **dict.fromkeys(names, _LONG_S))
    monkeypatch.setattr(SettingsRepository, "__init__", waiting)
    monkeypatch.setattr("liverouter.postgres.migrate._CONNECT_TIMEOUT_S", _LONG_S)
