"""What a client that serves nothing yet waits for. Imports nothing."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Step(StrEnum):
    """What the first generation of a client waits for; its value says so in words.

    Attributes:
        READING: the database.
        SETTINGS: somebody who stores the first ones.
        IMPORTING: this machine, which loads litellm.
        BUILDING: this machine, which loads the providers' packages and makes the chat models.
        WARMING: this machine, which loads what first calls need.
    """

    READING = "reading the settings"
    SETTINGS = "the first settings"
    IMPORTING = "importing litellm"
    BUILDING = "building the chat models"
    WARMING = "warming up"

    @property
    def is_work(self) -> bool:
        """Tell whether it is this machine's own work, so that nobody else is waited for."""
        return self not in {Step.READING, Step.SETTINGS}

    @property
    def hint(self) -> str:
        """Return what is waited for, and how to have it end sooner."""
        return _HINTS.get(self) or f"It is still {self}. {_WORK_HINT}"


_WORK_HINT: Final = (
    "Import once, before the processes are forked: liverouter.preload(); or start fewer at once, or without litellm: "
    "litellm_enable = false"
)
_HINTS: Final = {
    Step.READING: "It waits for the database: see whether that answers, liverouter show",
    Step.SETTINGS: "It waits for somebody to store the first settings: liverouter set llm_provider=… llm_model=…",
}
