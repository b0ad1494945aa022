"""Stand-in providers for demos and tests: real HTTP servers on 127.0.0.1 that speak each provider's wire format.

Importing this opens nothing and imports neither litellm nor langchain.
"""

from liverouter.testing.failures import FAILURES, STREAM_FAILURES, Failure
from liverouter.testing.google_token import service_account_json
from liverouter.testing.providers import PROVIDERS
from liverouter.testing.recorder import RecordedRequest, Violation
from liverouter.testing.script import Gate
from liverouter.testing.standin import StandIn
from liverouter.testing.wire import Ask, Reply, Tool, ToolCall

__all__ = [
    "FAILURES",
    "PROVIDERS",
    "STREAM_FAILURES",
    "Ask",
    "Failure",
    "Gate",
    "RecordedRequest",
    "Reply",
    "StandIn",
    "Tool",
    "ToolCall",
    "Violation",
    "service_account_json",
]
