"""OpenAI's Responses API, to which its LangChain class turns for built-in tools: calls by it are as any other."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

import pytest
from langchain_core.messages import HumanMessage, ToolMessage

from liverouter.errors import CallError
from liverouter.events import CallFitted
from liverouter.testing import MemoryRouter, Reply, StandIn, ToolCall
from tests.kit.everybody import add
from tests.kit.features import Sum, double
from tests.kit.histories import IMAGES
from tests.kit.standins import bodies, collect, live, primary, run, served

if TYPE_CHECKING:
    from collections.abc import Iterator

    from liverouter.events import Event

SEARCH: Final = {"type": "web_search"}
PARAMETERS: Final[dict[str, Any]] = {  # what chat completions take; the least and the most are beyond this API's range
    "audio": {"voice": "alloy", "format": "wav"},
    "frequency_penalty": 1,
    "logit_bias": {"1": 2},
    "max_tokens": 3,
    "modalities": ["text"],
    "n": 2,
    "parallel_tool_calls": False,
    "prediction": {"type": "content", "content": "x"},
    "presence_penalty": 1,
    "prompt_cache_key": "x",
    "safety_identifier": "x",
    "seed": 1,
    "service_tier": "auto",
    "stop": ["x"],
    "store": False,
    "temperature": 0.5,
    "top_logprobs": 2,
    "top_p": 0.5,
    "user": "u",
    "web_search_options": {},
}


@pytest.fixture(scope="module")
def standin() -> Iterator[StandIn]:
    """OpenAI's."""
    with StandIn("openai") as started:
        yield started


@pytest.fixture(scope="module")
def events() -> list[Event]:
    """What has happened."""
    return []


@pytest.fixture(scope="module")
def client(standin: StandIn, events: list[Event]) -> Iterator[MemoryRouter]:
    """A client without litellm."""
    with live(standin, litellm_enable=False, observers=(events.append,)) as entered:
        yield entered


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_is_fitted_to_it(standin: StandIn, client: MemoryRouter, events: list[Event], name: str) -> None:
    """What it has no word for is left out, and told; nothing is a bare TypeError, and it refuses nothing."""
    events.clear()
    client.chat_model().bind_tools([SEARCH]).invoke("hi", **{name: PARAMETERS[name]})
    assert standin.violations == ()
    told = [parameter for event in events if isinstance(event, CallFitted) for parameter in event.parameters]
    word = {"max_tokens": "max_output_tokens"}.get(name, name)
    assert word in bodies(standin)[-1] or told == [name]


@pytest.mark.parametrize("options", [{}, {"reasoning_effort": "low"}], ids=["", "reasoning"])
@pytest.mark.parametrize("reply", [Reply(text="Well."), Reply(tool_calls=(ToolCall("add", {"a": 1}),))])
def test_stream_says_what_the_whole_answer_does(
    standin: StandIn, client: MemoryRouter, reply: Reply, options: dict[str, Any]
) -> None:
    """Its end is one, in OpenAI's words; text, calls and tokens are those of a whole answer."""
    client.set(llm_model="gpt-5" if options else "gpt-4o")
    standin.respond(reply, reply)
    model: Any = client.chat_model().bind_tools([SEARCH, add]).bind(**options)
    whole, streamed = model.invoke("hi"), run(lambda: collect(model))
    assert streamed.text == whole.text
    assert [call["args"] for call in streamed.tool_calls] == [call["args"] for call in whole.tool_calls]
    assert streamed.response_metadata["finish_reason"] == whole.response_metadata["finish_reason"]
    assert whole.response_metadata["finish_reason"] == ("tool_calls" if reply.tool_calls else "stop")
    assert streamed.usage_metadata == whole.usage_metadata
    assert standin.violations == ()


@pytest.mark.parametrize("stream", [False, True])
def test_answer_without_room_says_so(standin: StandIn, client: MemoryRouter, *, stream: bool) -> None:
    """As of any other API."""
    standin.respond(Reply(text="cut", finish="length"))
    model: Any = client.chat_model().bind_tools([SEARCH])
    message = run(lambda: collect(model)) if stream else model.invoke("hi")
    assert (message.text, message.response_metadata["finish_reason"]) == ("cut", "length")


@pytest.mark.parametrize("failure", ["eof", "preamble", "error-event", "empty"])
def test_broken_stream_is_an_error(standin: StandIn, client: MemoryRouter, failure: str) -> None:
    """An event that says so has the provider's words in it."""
    standin.fail(failure, times=2)
    model: Any = client.chat_model().bind_tools([SEARCH])
    with pytest.raises(Exception, match=r"had an error while|answered nothing|finish marker") as caught:
        run(lambda: collect(model))
    assert isinstance(caught.value, CallError) or failure == "error-event"
    standin.heal()


@pytest.mark.parametrize("method", ["json_schema", "json_mode"])
@pytest.mark.parametrize("tools", [[SEARCH], [SEARCH, add], [add]], ids=["search", "both", "function"])
def test_schema_beside_tools(standin: StandIn, client: MemoryRouter, tools: list[Any], method: Any) -> None:
    """The answer is bound to it, by whichever API is asked."""
    structured = client.chat_model().with_structured_output(Sum, method=method, tools=tools)
    assert isinstance(structured.invoke("give me 7"), Sum)
    assert standin.violations == ()


def test_strict_tools_and_images(standin: StandIn, client: MemoryRouter) -> None:
    """In its own notation."""
    model = client.chat_model().bind_tools([SEARCH, double], strict=True)
    model.invoke([HumanMessage([IMAGES[0], {"type": "text", "text": "what is it?"}])])
    body = bodies(standin)[-1]
    assert [tool.get("strict") for tool in body["tools"]] == [None, True]
    assert body["input"][0]["content"][0]["type"] == "input_image"
    assert standin.violations == ()


def test_conversation_goes_on_with_another_account_and_back() -> None:
    """What one account keeps under an id is sent to no other, which would know nothing of it."""
    with ExitStack() as stack:
        first, second, claude = (stack.enter_context(StandIn(name)) for name in ("openai", "openai", "anthropic"))
        secrets = first.secrets() | claude.secrets()
        rows = {"litellm_enable": False, **primary(first, "gpt-5")}
        client = stack.enter_context(MemoryRouter(rows, secrets=secrets))
        model = client.chat_model().bind_tools([SEARCH, add]).bind(reasoning_effort="low")
        history: list[Any] = [HumanMessage("hi")]
        for standin, name in ((first, "gpt-5"), (second, "gpt-5"), (claude, "claude-sonnet-4-6"), (first, "gpt-5")):
            client.set(**primary(standin, name), secrets=standin.secrets())
            standin.respond(Reply(text="Well.", thinking="hm"), Reply(thinking="hm", tool_calls=(ToolCall("add", {}),)))
            for _ in range(2):
                answer: Any = model.invoke(history)
                assert served(answer)["model"] == name
                history += [answer, *(ToolMessage("3", tool_call_id=call["id"]) for call in answer.tool_calls)]
                history += [HumanMessage("go on")]
            assert standin.violations == ()
