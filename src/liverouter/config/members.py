"""The members of a fallback entry, and of a row `llm:NAME`, that belong to no provider. Pure data."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from liverouter.config.kinds import Setting
from liverouter.config.settings import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Mapping

# Each takes what the primary's row ``llm_<member>`` takes, of the default model.
_AS_ROWS: Final = (
    "provider",
    "model",
    "temperature",
    "max_tokens",
    "params",
    "weight",
    "timeout",
    "first_token_timeout",
    "profile",
)

MEMBERS: Final[Mapping[str, Setting]] = MappingProxyType(
    {
        "order": Setting("order", "integer", "1 is asked first", low=1, high=1000),
    }
    | {name: replace(SETTINGS[f"llm_{name}"], name=name) for name in _AS_ROWS}
)
