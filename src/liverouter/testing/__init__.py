"""For demos and tests, users' own included: stand-in providers, a live client over rows in memory, waiting for events.

The stand-ins are real HTTP servers on 127.0.0.1 that speak each provider's wire format. Importing this opens nothing
and imports neither litellm nor langchain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from liverouter.testing.dialects.google_token import service_account_json
from liverouter.testing.dialects.providers import PROVIDERS
from liverouter.testing.events import EventLog
from liverouter.testing.standin.failures import FAILURES, STREAM_FAILURES, Failure
from liverouter.testing.standin.recorder import RecordedRequest, Violation
from liverouter.testing.standin.script import Gate
from liverouter.testing.standin.server import StandIn
from liverouter.testing.standin.wire import Ask, Reply, Tool, ToolCall

if TYPE_CHECKING:
    from liverouter.testing.memory import MemoryRouter

__all__ = [
    "FAILURES",
    "PROVIDERS",
    "STREAM_FAILURES",
    "Ask",
    "EventLog",
    "Failure",
    "Gate",
    "MemoryRouter",
    "RecordedRequest",
    "Reply",
    "StandIn",
    "Tool",
    "ToolCall",
    "Violation",
    "service_account_json",
]


def __getattr__(name: str) -> Any:
    """Import MemoryRouter when it is first asked for: it needs langchain, which costs a second."""
    if name != "MemoryRouter":
        message = f"module 'liverouter.testing' has no attribute '{name}'"
        raise AttributeError(message)
    from liverouter.testing.memory import MemoryRouter

    return MemoryRouter
