"""Imports once, in the parent of processes that are forked, what each of them would import by itself."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import liverouter.client  # noqa: F401 - drivers and LangChain, which every child needs
from liverouter.config.environment import Environment
from liverouter.config.values import Values
from liverouter.errors import ConfigError
from liverouter.loops.fork import unforkable
from liverouter.options import OPTIONS
from liverouter.revision import Rows
from liverouter.routing import warmup
from liverouter.routing.litellm_setup import collecting_later, freeze


def preload(*, litellm: bool | None = None) -> None:
    """Import what a client and its calls need, so that each child that is forked later answers at once.

    It takes the seconds that the first answer of each child would take, and the memory is shared. It starts no thread,
    opens nothing, and reads no settings. What is imported is exempt from garbage collection, as `gc_freeze` says.

    Args:
        litellm: which engine: litellm, or without it the LangChain packages of all providers that are installed. By
            default what LITELLM_ENABLE says, else litellm.
    """
    with unforkable(), collecting_later():
        if litellm is None:
            litellm = _wants_litellm()
        try:
            warmup.preload(by_litellm=litellm)
        except ConfigError:  # each child tells it, and is of the native engine then
            warmup.preload(by_litellm=False)
        if OPTIONS["gc_freeze"].value(os.environ.get(OPTIONS["gc_freeze"].variable, "")):
            freeze()


def _wants_litellm() -> bool:
    """Return what the environment says of the engine, which a row may overrule."""
    nothing = Rows("", 0, "", datetime.now(UTC), 0.0, {}, {})
    return bool(Values(nothing, Environment(), None).setting("litellm_enable"))
