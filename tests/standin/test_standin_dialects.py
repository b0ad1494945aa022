"""Each stand-in speaks its provider's wire format well enough for litellm, in every way that litellm speaks to it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from liverouter.testing import Reply, StandIn, ToolCall
from tests.kit.dialects import AZURE_V1, DIALECTS, Dialect
from tests.kit.wires import LITELLM_WARNINGS, PATIENCE_S, WEATHER, close_clients, complete, text_of, user

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = [pytest.mark.asyncio(loop_scope="module"), *LITELLM_WARNINGS]

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "count": {"type": "integer"}},
    "required": ["name", "count"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "thing", "strict": True, "schema": SCHEMA}}
PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
WIRES = (*DIALECTS.values(), AZURE_V1)
TWO_CALLS = (ToolCall("get_weather", {"city": "Rome"}), ToolCall("get_weather", {"city": "Oslo"}))
PROMPT = [{"role": "system", "content": "Be brief."}, *user("one two three")]


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def clients() -> AsyncIterator[None]:
    """Close litellm's clients before the loop they belong to."""
    yield
    await close_clients()


def _name(wire: Dialect) -> str:
    return wire.name


@pytest.fixture(params=WIRES, ids=_name)
def wire(request: pytest.FixtureRequest) -> Dialect:
    """Each wire format."""
    found: Dialect = request.param
    return found


@pytest.fixture
def standin(wire: Dialect) -> Iterator[StandIn]:
    """Its stand-in; what it received was all as the provider wants it."""
    with StandIn(wire.provider) as running:
        yield running
        assert running.violations == ()


def only(name: str, *names: str) -> pytest.MarkDecorator:
    """Return the mark that runs a test for these wire formats."""
    return pytest.mark.parametrize("wire", [w for w in WIRES if w.name in {name, *names}], indirect=True, ids=_name)


class TestPlain:
    async def test_an_answer_arrives(self, wire: Dialect, standin: StandIn) -> None:
        """Text, finish, usage, and the path asked."""
        answer = await complete(wire, standin, messages=PROMPT)
        assert answer.choices[0].message.content == wire.says + "one two three"
        assert (answer.choices[0].finish_reason, answer.usage.prompt_tokens) == ("stop", 7)
        assert standin.requests[-1].path == wire.path

    async def test_a_stream_arrives_in_pieces(self, wire: Dialect, standin: StandIn) -> None:
        """Several chunks make the text; the last says stop."""
        chunks = await complete(wire, standin, messages=PROMPT, stream=True)
        pieces = text_of(chunks)
        assert "".join(pieces) == wire.says + "one two three"
        assert len(pieces) == 5
        assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"

    @only(
        "openai", "azure-openai", "azure-openai v1", "anthropic", "vertex-ai", "vertex-ai claude"
    )  # litellm cannot ask Snowflake
    async def test_a_stream_reports_its_tokens(self, wire: Dialect, standin: StandIn) -> None:
        """Usage comes where it is asked for, and is that of the whole answer."""
        whole = await complete(wire, standin, messages=PROMPT)
        wanted = {"include_usage": True}
        *_, last = await complete(wire, standin, messages=PROMPT, stream=True, stream_options=wanted)
        assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (7, whole.usage.completion_tokens)

    async def test_parameters_are_heeded(self, wire: Dialect, standin: StandIn) -> None:
        """A token limit cuts the text and says so; sampling parameters are taken."""
        answer = await complete(wire, standin, temperature=0.5, max_tokens=2)
        assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == (wire.says[:8], "length")

    @only("openai", "azure-openai", "anthropic", "vertex-ai", "vertex-ai claude")
    async def test_a_stop_sequence_ends_the_text(self, wire: Dialect, standin: StandIn) -> None:
        """The sequence itself is left out."""
        answer = await complete(wire, standin, messages=PROMPT, stop=["two"])
        assert answer.choices[0].message.content == wire.says + "one "

    @only("openai", "azure-openai", "vertex-ai")
    async def test_several_choices(self, wire: Dialect, standin: StandIn) -> None:
        """Each differs, and counts."""
        answer = await complete(wire, standin, n=2)
        assert [choice.message.content for choice in answer.choices] == [wire.says + "hi", wire.says + "hi (2)"]

    async def test_an_image_is_accepted(self, wire: Dialect, standin: StandIn) -> None:
        """Its bytes are no text: it costs what an image costs."""
        parts = [{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": PIXEL}}]
        answer = await complete(wire, standin, messages=[{"role": "user", "content": parts}])
        assert answer.choices[0].message.content == wire.says + "what?"
        assert 258 <= answer.usage.prompt_tokens < 270


class TestTools:
    async def test_a_forced_tool_is_called(self, wire: Dialect, standin: StandIn) -> None:
        """With the smallest arguments that its schema allows."""
        answer = await complete(wire, standin, tools=[WEATHER], tool_choice="required")
        assert _calls(answer.choices[0].message) == [("get_weather", {"city": "city"})]
        assert answer.choices[0].finish_reason == "tool_calls"

    async def test_a_tool_call_streams(self, wire: Dialect, standin: StandIn) -> None:
        """Name first, arguments after it, in pieces where the format has pieces."""
        import litellm

        chunks = await complete(wire, standin, tools=[WEATHER], tool_choice="required", stream=True)
        merged = litellm.stream_chunk_builder(chunks)
        assert merged is not None
        assert _calls(merged.choices[0].message) == [("get_weather", {"city": "city"})]
        assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "tool_calls"

    async def test_a_tool_that_the_user_names_is_called(self, wire: Dialect, standin: StandIn) -> None:
        """No force needed; other texts are answered with text."""
        called = await complete(wire, standin, messages=user("use get_weather for 3 days"), tools=[WEATHER])
        plain = await complete(wire, standin, messages=user("good morning"), tools=[WEATHER])
        assert (len(_calls(called.choices[0].message)), _calls(plain.choices[0].message)) == (1, [])

    async def test_parallel_calls_take_their_results(self, wire: Dialect, standin: StandIn) -> None:
        """Two scripted calls with their own ids; the results make the next answer."""
        standin.respond(Reply(tool_calls=TWO_CALLS))
        first = await complete(wire, standin, tools=[WEATHER])
        message = first.choices[0].message
        assert _calls(message) == [("get_weather", {"city": "Rome"}), ("get_weather", {"city": "Oslo"})]
        results = [
            {"role": "tool", "tool_call_id": call.id, "content": f"{number} degrees"}
            for number, call in enumerate(message.tool_calls)
        ]
        history = [*user("hi"), message.model_dump(exclude_none=True), *results]
        second = await complete(wire, standin, messages=history, tools=[WEATHER])
        assert second.choices[0].message.content == wire.says + "0 degrees; 1 degrees"

    async def test_parallel_calls_stream(self, wire: Dialect, standin: StandIn) -> None:
        """The pieces of two calls do not mix."""
        import litellm

        standin.respond(Reply(tool_calls=TWO_CALLS))
        chunks = await complete(wire, standin, tools=[WEATHER], stream=True)
        merged = litellm.stream_chunk_builder(chunks)
        assert merged is not None
        assert [arguments for _, arguments in _calls(merged.choices[0].message)] == [{"city": "Rome"}, {"city": "Oslo"}]


class TestStructuredOutput:
    @only("openai", "azure-openai", "azure-openai v1", "anthropic", "vertex-ai", "vertex-ai claude")
    async def test_a_schema_is_met(self, wire: Dialect, standin: StandIn) -> None:
        """By its smallest instance; a number in the question is used."""
        answer = await complete(wire, standin, messages=user("give me 7"), response_format=FORMAT)
        assert json.loads(answer.choices[0].message.content) == {"name": "name", "count": 7}

    @only("openai", "azure-openai", "vertex-ai")
    async def test_any_json_object_will_do_where_that_is_asked(self, wire: Dialect, standin: StandIn) -> None:
        """JSON mode without a schema."""
        answer = await complete(wire, standin, messages=user("in JSON"), response_format={"type": "json_object"})
        assert isinstance(json.loads(answer.choices[0].message.content), dict)


class TestThinking:
    @only("anthropic", "vertex-ai claude", "vertex-ai")
    @pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
    async def test_reasoning_comes_before_the_text(self, wire: Dialect, standin: StandIn, *, stream: bool) -> None:
        """Where the caller asks for it."""
        import litellm

        answer = await complete(wire, standin, reasoning_effort="low", stream=stream)
        if stream:
            answer = litellm.stream_chunk_builder(answer)
        message = answer.choices[0].message
        assert message.reasoning_content == wire.says.removesuffix("says: ") + "thinks."
        assert message.content == wire.says + "hi"

    @only("anthropic", "vertex-ai claude")
    async def test_a_thinking_block_comes_back_signed(self, wire: Dialect, standin: StandIn) -> None:
        """Replayed as given it is accepted in a tool loop."""
        standin.respond(Reply(thinking="hm", tool_calls=(ToolCall("get_weather", {"city": "Rome"}),)))
        first = await complete(wire, standin, tools=[WEATHER], reasoning_effort="low")
        message = first.choices[0].message
        result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "sunny"}
        history = [*user("hi"), message.model_dump(exclude_none=True), result]
        second = await complete(wire, standin, messages=history, tools=[WEATHER], reasoning_effort="low")
        assert second.choices[0].message.content == wire.says + "sunny"


class TestPromptCache:
    @only("anthropic", "vertex-ai claude", "snowflake claude")
    async def test_a_marked_prefix_is_written_once_and_then_read(self, wire: Dialect, standin: StandIn) -> None:
        """Cache tokens are reported beside the others."""
        block = {"type": "text", "text": "long " * 200, "cache_control": {"type": "ephemeral"}}
        history = [{"role": "system", "content": [block]}, *user("hi")]
        first = await complete(wire, standin, messages=history)
        second = await complete(wire, standin, messages=history)
        assert first.usage.cache_creation_input_tokens == 250
        assert (second.usage.cache_creation_input_tokens, second.usage.cache_read_input_tokens) == (0, 250)


class TestRouter:
    async def test_a_router_fails_over_to_it(self, wire: Dialect, standin: StandIn) -> None:
        """From a primary whose key is refused: one hit there, one here."""
        import litellm

        with StandIn("openai", accept_keys=()) as primary:
            deployments = [
                {"model": "openai/gpt-4o", "api_base": primary.api_base, "api_key": "k", "order": 1},
                {**wire.litellm_params(standin), "order": 2},
            ]
            router = litellm.Router(
                model_list=[{"model_name": "m", "litellm_params": params} for params in deployments],
                num_retries=0,
                timeout=PATIENCE_S,
            )
            answer = await router.acompletion("m", user("hi"))
            router.retire()
            assert answer.choices[0].message.content == wire.says + "hi"
            assert (primary.hits, standin.hits) == (1, 1)


def _calls(message: Any) -> list[tuple[str, Any]]:
    return [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or ()]
