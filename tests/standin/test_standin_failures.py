"""What bare litellm makes of every failure of every stand-in: the ground that failover is built on.

The tables are findings about litellm, not wishes. Where a row surprises, the Router, the stream guard or the error
types of liverouter have to make up for it; a row that changes with a new litellm is a reason to look there.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from liverouter.testing import Failure, StandIn
from tests.kit.dialects import DIALECTS, Dialect
from tests.kit.wires import LITELLM_WARNINGS, PATIENCE_S, WEATHER, close_clients, complete, text_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

pytestmark = [pytest.mark.asyncio(loop_scope="module"), *LITELLM_WARNINGS]

TRIED = tuple(DIALECTS.values())
HANGING = (Failure.BLACKHOLE, Failure.HANG, Failure.STALL)
TIMEOUT_S = 1.0  # for calls that do not end by themselves
STALL_S = 5.0  # for those whose answer begins before, on a busy machine too
GEMINI_STREAM_S = 5.0  # it heeds no other timeout than the one its client is made with, once per process

# failure: (outcome of a whole answer, where it differs). An outcome is the exception's class, or "<finish>: <content>".
WHOLE: Mapping[Failure, tuple[str, Mapping[str, str]]] = {
    Failure.REFUSED: (
        "APIConnectionError",
        {
            "openai": "InternalServerError",
            "anthropic": "InternalServerError",
            "vertex-ai claude": "InternalServerError",
        },
    ),
    Failure.BLACKHOLE: ("Timeout", {}),
    Failure.HANG: ("Timeout", {}),
    Failure.RESET: (
        "APIConnectionError",
        {
            "openai": "InternalServerError",
            "anthropic": "InternalServerError",
            "vertex-ai claude": "InternalServerError",
        },
    ),
    Failure.BAD_REQUEST: ("BadRequestError", {}),
    Failure.CONTEXT_WINDOW: (
        "ContextWindowExceededError",
        {"snowflake": "BadRequestError", "snowflake claude": "BadRequestError"},
    ),
    Failure.CONTENT_POLICY: (
        "ContentPolicyViolationError",
        {"snowflake": "BadRequestError", "snowflake claude": "BadRequestError"},
    ),
    Failure.UNAUTHORIZED: ("AuthenticationError", {}),
    Failure.FORBIDDEN: (
        "PermissionDeniedError",
        {
            "openai": "APIError",
            "azure-openai": "APIError",
            "vertex-ai": "BadRequestError",
            "vertex-ai claude": "BadRequestError",
        },
    ),
    Failure.NOT_FOUND: ("NotFoundError", {}),
    Failure.TIMEOUT: ("Timeout", {}),
    Failure.TOO_LARGE: ("BadRequestError", {"openai": "APIError", "azure-openai": "APIError"}),
    Failure.UNPROCESSABLE: ("BadRequestError", {}),
    Failure.RATE_LIMIT: ("RateLimitError", {}),
    Failure.RATE_LIMIT_RETRY_AFTER: ("RateLimitError", {}),
    Failure.SERVER_ERROR: ("InternalServerError", {"azure-openai": "APIError"}),
    Failure.BAD_GATEWAY: (
        "BadGatewayError",
        {"vertex-ai": "APIConnectionError", "vertex-ai claude": "APIConnectionError"},
    ),
    Failure.UNAVAILABLE: ("ServiceUnavailableError", {}),
    Failure.OVERLOADED: ("APIError", {"anthropic": "InternalServerError", "vertex-ai": "InternalServerError"}),
    Failure.OUT_OF_MONEY: (
        "BadRequestError",
        {
            "azure-openai": "RateLimitError",
            "snowflake": "PaymentRequiredError",
            "snowflake claude": "PaymentRequiredError",
        },
    ),
    Failure.DISABLED: ("BadRequestError", {"openai": "AuthenticationError", "azure-openai": "APIError"}),
    Failure.UNKNOWN_MODEL: ("BadRequestError", {"anthropic": "NotFoundError"}),
    Failure.MALFORMED: (
        "APIConnectionError",
        {"openai": "InternalServerError", "azure-openai": "APIError", "vertex-ai": "BadRequestError"},
    ),
    Failure.EMPTY: (
        "APIConnectionError",
        {"openai": "InternalServerError", "azure-openai": "APIError", "vertex-ai": "BadRequestError"},
    ),
    Failure.HTML: (
        "APIConnectionError",
        {"openai": "InternalServerError", "azure-openai": "APIError", "vertex-ai": "BadRequestError"},
    ),
    Failure.REFUSAL: ("content_filter: ", {"snowflake claude": "stop: "}),
    Failure.ERROR_EVENT: ("InternalServerError", {"azure-openai": "APIError"}),
    Failure.EOF: (
        "APIConnectionError",
        {
            "openai": "InternalServerError",
            "anthropic": "InternalServerError",
            "vertex-ai claude": "InternalServerError",
        },
    ),
    Failure.EOF_IN_TOOL: (
        "APIConnectionError",
        {
            "openai": "InternalServerError",
            "anthropic": "InternalServerError",
            "vertex-ai claude": "InternalServerError",
        },
    ),
    Failure.STALL: ("Timeout", {}),
    Failure.PREAMBLE: (
        "APIConnectionError",
        {
            "openai": "InternalServerError",
            "anthropic": "InternalServerError",
            "vertex-ai claude": "InternalServerError",
        },
    ),
    Failure.SLOW: ("stop: <model> says: hi", {}),
}
# A stream without content before the failure, but for those that only happen after content: where it differs.
STREAMED: Mapping[Failure, tuple[str, Mapping[str, str]]] = {
    **WHOLE,
    Failure.REFUSED: (
        "InternalServerError",
        {
            "azure-openai": "APIConnectionError",
            "vertex-ai": "MidStreamFallbackError",
            "snowflake": "APIConnectionError",
            "snowflake claude": "APIConnectionError",
        },
    ),
    Failure.RESET: (
        "InternalServerError",
        {
            "azure-openai": "APIConnectionError",
            "vertex-ai": "MidStreamFallbackError",
            "snowflake": "APIConnectionError",
            "snowflake claude": "APIConnectionError",
        },
    ),
    Failure.RATE_LIMIT: ("RateLimitError", {"vertex-ai": "MidStreamFallbackError"}),
    Failure.RATE_LIMIT_RETRY_AFTER: ("RateLimitError", {"vertex-ai": "MidStreamFallbackError"}),
    Failure.SERVER_ERROR: ("InternalServerError", {"azure-openai": "APIError", "vertex-ai": "MidStreamFallbackError"}),
    Failure.BAD_GATEWAY: (
        "BadGatewayError",
        {"vertex-ai": "MidStreamFallbackError", "vertex-ai claude": "APIConnectionError"},
    ),
    Failure.UNAVAILABLE: ("ServiceUnavailableError", {"vertex-ai": "MidStreamFallbackError"}),
    Failure.OVERLOADED: ("APIError", {"anthropic": "InternalServerError", "vertex-ai": "MidStreamFallbackError"}),
    Failure.MALFORMED: ("stop: ", {"openai": "MidStreamFallbackError", "azure-openai": "MidStreamFallbackError"}),
    Failure.EMPTY: ("stop: ", {}),
    Failure.HTML: ("stop: ", {}),
    Failure.REFUSAL: ("content_filter: ", {}),
    Failure.ERROR_EVENT: ("MidStreamFallbackError", {}),
    Failure.EOF: ("MidStreamFallbackError", {"vertex-ai": "stop: <model> ", "snowflake": "stop: <model> "}),
    Failure.EOF_IN_TOOL: ("MidStreamFallbackError", {"vertex-ai": "stop: ", "snowflake": 'tool_calls: {"city":'}),
    Failure.STALL: ("MidStreamFallbackError", {"openai": "Timeout", "azure-openai": "Timeout"}),
    Failure.PREAMBLE: ("MidStreamFallbackError", {"vertex-ai": "stop: ", "snowflake": "stop: "}),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def standins() -> AsyncIterator[Mapping[Dialect, StandIn]]:
    """A stand-in for each wire format, called once so that Vertex's token is there before anything fails."""
    import litellm

    patched = pytest.MonkeyPatch()
    patched.setattr(litellm, "suppress_debug_info", True)
    patched.setattr(litellm, "request_timeout", GEMINI_STREAM_S)
    patched.delitem(vars(litellm), "module_level_aclient", raising=False)  # the client of Gemini's streams
    running = {wire: _start(wire.provider) for wire in TRIED}
    for wire, standin in running.items():
        await complete(wire, standin, timeout=PATIENCE_S)
    yield running
    for standin in running.values():
        standin.stop()
    await close_clients()
    patched.undo()


def _start(provider: str) -> StandIn:
    """Start a stand-in on a port without 403 in it: litellm takes any Vertex error with these digits for a 403."""
    while True:
        standin = StandIn(provider).start()
        if "403" not in str(standin.port):
            return standin
        standin.stop()


async def outcome(wire: Dialect, standin: StandIn, kind: Failure, *, stream: bool) -> str:
    """Ask once and say what came of it."""
    request = {"tools": [WEATHER], "tool_choice": "required"} if kind is Failure.EOF_IN_TOOL else {}
    begins = stream and kind is Failure.STALL
    timeout_s = STALL_S if begins else TIMEOUT_S if kind in HANGING else PATIENCE_S
    try:
        async with asyncio.timeout(2 * PATIENCE_S):
            answer = await complete(wire, standin, stream=stream, timeout=timeout_s, **request)
    except Exception as error:  # noqa: BLE001 - its class is the finding
        return type(error).__name__
    choices = [chunk.choices[0] for chunk in answer if chunk.choices] if stream else answer.choices
    messages = [choice.delta if stream else choice.message for choice in choices]
    text = "".join(text_of(answer)) if stream else messages[0].content or ""
    calls = [call for message in messages for call in message.tool_calls or ()]
    text += "".join(call.function.arguments or "" for call in calls)
    return f"{choices[-1].finish_reason}: {text}".replace(wire.says.split()[0], "<model>")


async def outcomes(standins: Mapping[Dialect, StandIn], kind: Failure, *, stream: bool) -> dict[str, str]:
    """Let every stand-in fail and return what came of it, by wire format."""
    for standin in standins.values():
        standin.forget()
        standin.fail(kind, chunk_delay_s=0.01)
    try:
        found = await asyncio.gather(
            *(outcome(wire, standin, kind, stream=stream) for wire, standin in standins.items())
        )
    finally:
        for standin in standins.values():
            standin.heal()
    assert [violation for standin in standins.values() for violation in standin.violations] == []
    return {wire.name: came for wire, came in zip(standins, found, strict=True)}


def expected(row: tuple[str, Mapping[str, str]]) -> dict[str, str]:
    """Return a row of a table by wire format."""
    usual, others = row
    return {wire.name: others.get(wire.name, usual) for wire in TRIED}


class TestOutcomes:
    @pytest.mark.parametrize("kind", Failure, ids=str)
    async def test_a_whole_answer(self, standins: Mapping[Dialect, StandIn], kind: Failure) -> None:
        """Ends as the table says, on every wire format."""
        assert await outcomes(standins, kind, stream=False) == expected(WHOLE[kind])

    @pytest.mark.parametrize("kind", [kind for kind in Failure if STREAMED[kind] is not WHOLE[kind]], ids=str)
    async def test_a_stream(self, standins: Mapping[Dialect, StandIn], kind: Failure) -> None:
        """Ends as the table says, on every wire format, where it has a row of its own."""
        assert await outcomes(standins, kind, stream=True) == expected(STREAMED[kind])


class TestHits:
    async def test_litellm_sends_no_request_again_by_itself(self, standins: Mapping[Dialect, StandIn]) -> None:
        """Neither one that was reset nor one that got a 500."""
        hits: dict[str, tuple[int, int]] = {}
        for wire, standin in standins.items():
            counted = []
            for kind in (Failure.RESET, Failure.SERVER_ERROR):
                standin.forget()
                standin.fail(kind)
                await outcome(wire, standin, kind, stream=False)
                counted.append(standin.hits)
                standin.heal()
            hits[wire.name] = (counted[0], counted[1])
        assert hits == {wire.name: (1, 1) for wire in TRIED}
