"""The providers by name.

A further one is one `provider_*.py` and one line here, and a `wire_*.py` where its body format is new.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from liverouter.testing.dialects.provider_anthropic import Anthropic
from liverouter.testing.dialects.provider_azure import AzureOpenAI
from liverouter.testing.dialects.provider_compatible import OpenAICompatible
from liverouter.testing.dialects.provider_openai import OpenAI
from liverouter.testing.dialects.provider_snowflake import SnowflakeCortex
from liverouter.testing.dialects.provider_vertex import VertexAI

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from liverouter.testing.standin.wire import Provider

_MAKERS: Mapping[str, Callable[[], Provider]] = {
    "anthropic": Anthropic,
    "azure-openai": AzureOpenAI,
    "openai": OpenAI,
    "openai-compatible": OpenAICompatible,
    "snowflake-cortex": SnowflakeCortex,
    "vertex-ai": VertexAI,
}

PROVIDERS: tuple[str, ...] = tuple(_MAKERS)
"""Every provider there is a stand-in for."""


def make_provider(name: str) -> Provider:
    """Return a new provider called *name*.

    Raises:
        ValueError: there is none.
    """
    if name not in _MAKERS:
        raise ValueError(f"no stand-in for provider {name!r}; there are {', '.join(PROVIDERS)}")
    return _MAKERS[name]()
