"""Hot-reloading LLM routing config from PostgreSQL: a live LangChain chat model that follows every committed row.

>>> from liverouter import get_chat_model
>>> model = get_chat_model()          # built once, follows every later revision
>>> model.invoke("hi")                # doctest: +SKIP

Importing this package, or `get_chat_model` from it, opens nothing, starts nothing, and imports neither litellm nor
langchain, the database's drivers nor the web stack: the first call does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from liverouter.before_fork import preload
    from liverouter.chat.model import LiveChatModel as LiveChatModel
    from liverouter.client import LiveRouter, Rollout as Rollout
    from liverouter.default import get_chat_model, status
    from liverouter.engine.status import State, Status
    from liverouter.errors import (
        CallError,
        ClosedError as ClosedError,
        ConfigError,
        ConflictError as ConflictError,
        DatabaseError,
        LiveRouterError,
        ModelNameError as ModelNameError,
        NotReadyError,
        OptionsError as OptionsError,
        Problem,
        RolloutError as RolloutError,
        SecretError as SecretError,
        WriteRefusedError as WriteRefusedError,
    )

_HOMES = {
    "CallError": "errors",
    "ClosedError": "errors",
    "ConfigError": "errors",
    "ConflictError": "errors",
    "DatabaseError": "errors",
    "LiveChatModel": "chat.model",
    "LiveRouter": "client",
    "LiveRouterError": "errors",
    "ModelNameError": "errors",
    "NotReadyError": "errors",
    "OptionsError": "errors",
    "Problem": "errors",
    "Rollout": "client",
    "RolloutError": "errors",
    "SecretError": "errors",
    "State": "engine.status",
    "Status": "engine.status",
    "WriteRefusedError": "errors",
    "get_chat_model": "default",
    "preload": "before_fork",
    "status": "default",
}

# What a service needs. The other errors, LiveChatModel and Rollout can be imported by name as well.
__all__ = [
    "CallError",
    "ConfigError",
    "DatabaseError",
    "LiveRouter",
    "LiveRouterError",
    "NotReadyError",
    "Problem",
    "State",
    "Status",
    "get_chat_model",
    "preload",
    "status",
]


def __getattr__(name: str) -> Any:
    """Import the home of a public name when it is first asked for."""
    if name not in _HOMES:
        message = f"module 'liverouter' has no attribute '{name}'"
        raise AttributeError(message)
    value = getattr(import_module(f"liverouter.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Name the public names."""
    return sorted(_HOMES)
