"""An attempt that only looks like a success fails over; what breaks after its first content is one error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from langchain_core.exceptions import ModelAPIError, ModelError, ModelInvalidRequestError, ModelTimeoutError

from liverouter.errors import CallError
from liverouter.testing import Reply, StandIn, ToolCall
from tests.kit.dialects import DIALECTS, MODELS
from tests.kit.leaps import leap
from tests.kit.standins import collect, live, run, served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_core.messages import AIMessageChunk

    from liverouter.chat.model import LiveChatModel

WAIT_S: Final = 60.0
ADD: Final = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add two numbers.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
        },
    },
}


FORMATS: Final = pytest.mark.parametrize("wire", ["anthropic", "openai", "vertex-ai"], indirect=True)
"""Of how streams are written there are three; what follows behind the reading of one is the same for all dialects."""


@pytest.fixture(params=DIALECTS)
def wire(request: pytest.FixtureRequest) -> Iterator[tuple[StandIn, str]]:
    """Return a stand-in for each dialect, and the model that is served on it."""
    dialect = DIALECTS[request.param]
    with StandIn(dialect.provider) as standin:
        yield standin, dialect.model


@pytest.fixture
def other(wire: tuple[StandIn, str]) -> Iterator[StandIn]:
    """Return a stand-in of another dialect, for the fallback."""
    with StandIn("anthropic" if wire[0].provider == "openai" else "openai") as standin:
        yield standin


def read(
    model: LiveChatModel, text: str = "one two three", *, heard: Callable[[], None] | None = None, **kwargs: Any
) -> tuple[list[AIMessageChunk], Exception | None]:
    """Stream an answer and return its chunks and the error it ended in; *heard* is called after each text."""
    chunks: list[AIMessageChunk] = []
    try:
        for chunk in model.stream(text, **kwargs):
            chunks.append(chunk)  # kept although the stream may raise
            if heard is not None and chunk.text:
                heard()
    except ModelError as exc:
        return chunks, exc
    return chunks, None


def text_of(chunks: list[AIMessageChunk]) -> str:
    """Return what the chunks say."""
    return "".join(str(chunk.content) for chunk in chunks)


class TestWholeStream:
    def test_whole_stream_arrives_with_usage_and_who_served(self, wire: tuple[StandIn, str]) -> None:
        """A healthy stream comes through in all dialects: text, finish reason, tokens, deployment; a tool call."""
        standin, name = wire
        with live(standin, model=name) as client:
            message = run(lambda: collect(client.chat_model(), "one two three"))
            calling = run(lambda: collect(client.chat_model(), "add 2", tools=[ADD]))
        assert message.content == f"{name} says: one two three"
        assert message.response_metadata["finish_reason"] == "stop"
        assert message.usage_metadata["output_tokens"] > 0
        assert served(message)["model"] == name
        assert served(message)["attempts"] == 1
        assert not served(message)["failed_over"]
        assert [(call["name"], call["args"]) for call in calling.tool_calls] == [("add", {"a": 2, "b": 2})]
        assert standin.violations == ()

    @FORMATS
    def test_equal_chunks_are_no_error(self, wire: tuple[StandIn, str]) -> None:
        """A line of dashes, blanks or zeros, however long, comes through in either engine."""
        standin, name = wire
        text = {"anthropic": "---- ", "openai": "    ", "vertex-ai": "0000 "}[standin.provider] * 120
        with live(standin, model=name) as client:
            for enabled in (True, False):
                client.set(litellm_enable=enabled)
                standin.respond(Reply(text=text))
                chunks, error = read(client.chat_model())
                assert error is None
                assert text_of(chunks) == text


class TestBeforeContent:
    """How every failure of every dialect fails over, as a stream and whole, is in `test_failover_matrix`."""

    @pytest.mark.parametrize("kind", ["empty", "html", "malformed", "preamble", "error-event", "reset", "500"])
    def test_broken_stream_fails_over(self, openai: StandIn, anthropic: StandIn, kind: str) -> None:
        """The fallback's answer is the only one: its name stands in the first chunk, all attempts in the last."""
        anthropic.fail(kind)
        with live(anthropic, openai, litellm_num_retries=1) as client:
            chunks, error = read(client.chat_model())
        assert error is None
        assert text_of(chunks) == "gpt-4o says: one two three"
        assert served(chunks[-1])["attempts"] == anthropic.hits + 1
        assert chunks[0].response_metadata["model_name"] == "gpt-4o"

    @FORMATS
    def test_stream_that_ends_before_content_fails_over(self, wire: tuple[StandIn, str], other: StandIn) -> None:
        """A clean end before any content is no answer."""
        standin, name = wire
        standin.fail("eof", after_chunks=0)
        with live(standin, other, model=name) as client:
            chunks, error = read(client.chat_model())
        assert error is None
        assert text_of(chunks).startswith(MODELS[other.provider])

    @FORMATS
    @pytest.mark.parametrize(
        ("kind", "code"), [("empty", "LR304"), ("html", "LR304"), ("preamble", "LR304"), ("refusal", "LR305")]
    )
    def test_without_fallback_it_is_an_error(self, wire: tuple[StandIn, str], kind: str, code: str) -> None:
        """Nobody else can answer: the caller learns what was wrong, and with which deployment."""
        standin, name = wire
        standin.fail(kind)
        with live(standin, model=name, litellm_num_retries=1) as client:
            chunks, error = read(client.chat_model())
        assert chunks == []
        assert isinstance(error, CallError)
        assert error.code == code
        assert f"{standin.provider}/{name}" in str(error)

    def test_third_deployment_answers_where_two_are_hollow(self, openai: StandIn, anthropic: StandIn) -> None:
        """Every deployment in order gets its turn."""
        with StandIn("openai") as third:
            anthropic.fail("empty")
            openai.fail("preamble")
            with live(anthropic, openai, third) as client:
                chunks, error = read(client.chat_model())
            assert error is None
            assert third.hits == 1
            assert served(chunks[-1])["attempts"] == 5


class TestAfterContent:
    def test_cut_stream_is_an_error(self, wire: tuple[StandIn, str], other: StandIn) -> None:
        """A stream that ends without its finish marker is never taken for a whole answer."""
        standin, name = wire
        standin.fail("eof", after_chunks=1)
        with live(standin, other, model=name) as client:
            chunks, error = read(client.chat_model())
        assert text_of(chunks) == f"{name} "
        assert isinstance(error, CallError)
        assert isinstance(error, ModelAPIError)
        assert error.code == "LR303"
        assert f"{standin.provider}/{name}" in str(error)
        assert (standin.hits, other.hits) == (1, 0)

    def test_cut_tool_call_is_never_handed_out(self, wire: tuple[StandIn, str], other: StandIn) -> None:
        """A tool call whose arguments were cut is an error, or, where they come in one piece, answered elsewhere."""
        standin, name = wire
        standin.fail("eof-in-tool")
        with live(standin, other, model=name) as client:
            chunks, error = read(client.chat_model(), "add 2", tools=[ADD])
        if error is None:
            assert served(chunks[-1])["model"] == MODELS[other.provider]
        else:
            assert isinstance(error, CallError)
            assert error.code == "LR303"

    @FORMATS
    @pytest.mark.parametrize("kind", ["error-event", "reset", "malformed"])
    def test_broken_stream_is_one_typed_error(self, wire: tuple[StandIn, str], other: StandIn, kind: str) -> None:
        """What breaks after content is raised after it, typed as worth a retry; the fallback is not asked."""
        standin, name = wire
        standin.fail(kind, after_chunks=1)
        with live(standin, other, model=name) as client:
            chunks, error = read(client.chat_model())
        assert text_of(chunks) == f"{name} "
        assert error is not None
        assert error.is_retryable  # type: ignore[attr-defined]
        assert other.hits == 0

    @FORMATS
    def test_silent_stream_is_a_timeout(self, wire: tuple[StandIn, str], other: StandIn) -> None:
        """A provider that falls silent in the middle is a timeout."""
        standin, name = wire
        standin.fail("hang", after_chunks=1)
        with live(standin, other, model=name, litellm_timeout=WAIT_S) as client:
            chunks, error = read(client.chat_model(), heard=lambda: leap(client, 2 * WAIT_S))
        assert text_of(chunks) == f"{name} "
        assert isinstance(error, ModelTimeoutError)

    @FORMATS
    def test_unchecked_cut_stream_is_accepted(self, wire: tuple[StandIn, str]) -> None:
        """`litellm_check_streams = false` is for servers that send no finish marker; empty streams stay errors."""
        standin, name = wire
        with live(standin, model=name, litellm_check_streams=False) as client:
            standin.fail("eof", after_chunks=1)
            chunks, error = read(client.chat_model())
            assert error is None
            assert text_of(chunks) == f"{name} "
            standin.fail("empty")
            chunks, error = read(client.chat_model())
            assert isinstance(error, CallError)


class TestHollowAnswer:
    @FORMATS
    def test_answer_without_content_fails_over(self, wire: tuple[StandIn, str], other: StandIn) -> None:
        """A success with nothing in it is none."""
        standin, name = wire
        standin.respond(*[Reply(text="")] * 2)
        with live(standin, other, model=name) as client:
            message = client.chat_model().invoke("one two three")
        assert message.content == f"{MODELS[other.provider]} says: one two three"

    @FORMATS
    def test_empty_answer_without_fallback_is_an_error(self, wire: tuple[StandIn, str]) -> None:
        """The only deployment's empty answer is LR304, worth a retry."""
        standin, name = wire
        standin.respond(*[Reply(text="")] * 2)
        with live(standin, model=name) as client, pytest.raises(ModelAPIError) as caught:
            client.chat_model().invoke("one two three")
        assert isinstance(caught.value, CallError)
        assert caught.value.code == "LR304"

    @FORMATS
    def test_refusal_without_fallback_is_an_error(self, wire: tuple[StandIn, str]) -> None:
        """The only deployment's refusal is LR305, worth no retry."""
        standin, name = wire
        standin.fail("refusal")
        with live(standin, model=name) as client, pytest.raises(ModelInvalidRequestError) as caught:
            client.chat_model().invoke("one two three")
        assert isinstance(caught.value, CallError)
        assert caught.value.code == "LR305"

    @FORMATS
    def test_tool_call_without_text_is_an_answer(self, wire: tuple[StandIn, str]) -> None:
        """A tool call needs no words."""
        standin, name = wire
        standin.respond(Reply(tool_calls=(ToolCall("add", {"a": 1, "b": 2}),)))
        with live(standin, model=name) as client:
            message = client.chat_model().bind_tools([ADD]).invoke("go")
        assert message.tool_calls[0]["args"] == {"a": 1, "b": 2}

    def test_empty_answer_at_a_stop_sequence_is_an_answer(self, openai: StandIn) -> None:
        """Where the caller gave stop sequences, an answer may end before it began."""
        openai.respond(Reply(text=""), Reply(text=""))
        with live(openai) as client:
            assert client.chat_model().invoke("go", stop=["gpt"]).content == ""
            assert run(lambda: collect(client.chat_model(), "go", stop=["gpt"])).content == ""

    def test_empty_answer_at_the_token_limit_is_an_answer(self, openai: StandIn) -> None:
        """The finish reason tells the caller that his limit left no room."""
        openai.respond(Reply(text="", finish="length"), Reply(text="", finish="length"))
        with live(openai) as client:
            assert client.chat_model().invoke("go").response_metadata["finish_reason"] == "length"
            assert run(lambda: collect(client.chat_model(), "go")).response_metadata["finish_reason"] == "length"


class TestAccounting:
    @pytest.mark.parametrize(("kind", "after_chunks"), [("empty", None), ("eof", 1)])
    def test_deployment_with_bad_streams_cools(
        self, anthropic: StandIn, openai: StandIn, kind: str, after_chunks: int | None
    ) -> None:
        """Hollow and cut streams count as failures: after the allowed ones the deployment is not asked any more."""
        anthropic.fail(kind, after_chunks=after_chunks)
        with live(anthropic, openai, litellm_num_retries=1, litellm_allowed_fails=2) as client:
            model = client.chat_model()
            for _ in range(3):
                read(model)
            hits = anthropic.hits
            chunks, error = read(model)
        assert error is None
        assert text_of(chunks).startswith("gpt-4o")
        assert anthropic.hits == hits


class TestConnections:
    def test_streams_of_two_clients_do_not_cut_each_other(self, anthropic: StandIn) -> None:
        """Two clients in one process have a loop each; a stream of one survives calls of the other."""
        with live(anthropic) as first, live(anthropic) as second, anthropic.hold(after_chunks=1) as gate:
            chunks = first.chat_model().stream("one two three")
            begun = [next(chunks)]
            gate.wait_held(1, WAIT_S)
            others = second.chat_model().stream("four five six")
            next(others)
            gate.wait_held(2, WAIT_S)
            gate.open()
            assert text_of([*begun, *chunks]) == "claude-sonnet-4-6 says: one two three"
            list(others)

    @FORMATS
    def test_streams_share_connections(self, wire: tuple[StandIn, str]) -> None:
        """Streams one after the other share connections; a new one comes only where the last is not back yet."""
        standin, name = wire
        with live(standin, model=name) as client:
            model = client.chat_model()
            for _ in range(8):
                read(model, "hi")
        assert standin.accepted <= 4
