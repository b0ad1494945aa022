"""An agent with tools and a response format uses its tools, whoever serves it, and answers to the schema in the end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from liverouter.testing import Reply, StandIn, ToolCall
from tests.kit.dialects import DIALECTS
from tests.kit.standins import live, primary, served
from tests.kit.wires import LITELLM_WARNINGS, NATIVE_WARNINGS

if TYPE_CHECKING:
    from liverouter.testing import Ask

pytestmark = [*LITELLM_WARNINGS, *NATIVE_WARNINGS]
OLD_CLAUDE: Final = "claude-3-5-sonnet-20241022"  # answers to no schema


class Sum(BaseModel):
    """The sum."""

    total: int


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


FORMAT: Final = {"type": "json_schema", "json_schema": {"name": "Sum", "schema": Sum.model_json_schema()}}


def eager(ask: Ask) -> Reply:
    """Call what is forced, with an invented sum; else add first, and then tell the sum in the way that is asked for."""
    names = [offered.name for offered in ask.tools]
    if ask.tool_name not in (None, "add"):
        return Reply(tool_calls=(ToolCall(str(ask.tool_name), {"total": 99}),))
    if "add" in names and not ask.tool_results:
        return Reply(tool_calls=(ToolCall("add", {"a": 1, "b": 2}),))
    total = {"total": int(ask.tool_results[0]) if ask.tool_results else 99}
    return Reply(tool_calls=(ToolCall("Sum", total),)) if "Sum" in names else Reply(text=json.dumps(total))


@pytest.fixture
def standin_options() -> dict[str, Any]:
    """Every stand-in answers as an eager model does."""
    return {"answer": eager}


def run(model: Any, response_format: Any = Sum) -> tuple[Sum, list[str]]:
    """Run an agent, and return its answer and who gave each of its messages."""
    agent: Any = create_agent(model, [add], response_format=response_format)
    state = agent.invoke({"messages": [("user", "add 1 and 2")]})
    return state["structured_response"], [
        served(message)["provider"] for message in state["messages"] if isinstance(message, AIMessage)
    ]


@pytest.mark.parametrize("name", [*DIALECTS, "anthropic old"])
def test_agent_uses_its_tools_on_every_provider(name: str) -> None:
    """In both engines, and however it asks for the schema: the sum is the tool's, none is invented."""
    dialect = DIALECTS[name.removesuffix(" old")]
    model = OLD_CLAUDE if name.endswith("old") else dialect.model
    with StandIn(dialect.provider, answer=eager) as standin, live(standin, model=model) as client:
        for enabled in (True, False):
            client.set(litellm_enable=enabled)
            for response_format in (Sum, ProviderStrategy(Sum)):
                answer, _ = run(client.chat_model(), response_format)
                assert answer == Sum(total=3), (enabled, response_format)
        assert standin.violations == ()


@pytest.mark.parametrize("enabled", [True, False])
def test_stream_says_the_schema_as_text(*, enabled: bool) -> None:
    """Where the format is a tool beside others, the reader sees the text that any other provider's stream has."""
    with StandIn("vertex-ai", answer=eager) as standin, live(standin, litellm_enable=enabled) as client:
        standin.respond(Reply(tool_calls=(ToolCall("Sum", {"total": 7}),)))
        model = client.chat_model().bind_tools([add], response_format=FORMAT)
        whole: Any = None
        for chunk in model.stream("add"):
            whole = chunk if whole is None else whole + chunk
    assert json.loads(whole.text) == {"total": 7}
    assert (whole.tool_calls, whole.response_metadata["finish_reason"]) == ([], "stop")


@pytest.mark.parametrize("enabled", [True, False])
def test_agent_uses_its_tools_after_a_failover(openai: StandIn, *, enabled: bool) -> None:
    """The profile is that of all deployments: what the fallback cannot promise is asked of none."""
    with (
        StandIn("vertex-ai", answer=eager) as other,
        live(openai, other, litellm_enable=enabled, litellm_num_retries=1) as client,
    ):
        assert client.chat_model().profile["structured_output"] is False  # type: ignore[index]  # the handle always has one
        openai.fail("401")
        assert run(client.chat_model()) == (Sum(total=3), ["vertex-ai"] * 2)
        assert other.violations == ()


def test_agent_uses_its_tools_after_a_swap(openai: StandIn) -> None:
    """One agent run goes on with another provider, for which litellm knows of no schema."""
    claude = DIALECTS["vertex-ai claude"].model
    with StandIn("vertex-ai", answer=eager) as other, live(openai, other, llm_fallback_config=None) as client:

        @tool
        def swap() -> str:
            """Add one and two."""
            client.set(**primary(other, claude))
            return "3"

        openai.respond(Reply(tool_calls=(ToolCall("swap", {}),)))
        agent: Any = create_agent(client.chat_model(), [swap], response_format=Sum)
        state = agent.invoke({"messages": [("user", "add")]})
        who = [served(message)["provider"] for message in state["messages"] if isinstance(message, AIMessage)]
    assert (state["structured_response"], who) == (Sum(total=3), ["openai", "vertex-ai"])


def test_profile_says_what_the_engine_does() -> None:
    """A tool is forced on Claude at Vertex by litellm; Anthropic's class asks it for the schema. A row's word wins."""
    claude = DIALECTS["vertex-ai claude"].model
    with StandIn("vertex-ai") as standin, live(standin, model=claude) as client:
        promised = []
        for enabled in (True, False):
            client.set(litellm_enable=enabled)
            promised.append(client.chat_model().profile["structured_output"])  # type: ignore[index]
    assert promised == [False, True]
