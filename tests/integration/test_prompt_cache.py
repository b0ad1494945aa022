"""Prompt caching for Claude in both engines, and what an answer cost: cache writes, unknown prices, cached answers."""

from __future__ import annotations

import dataclasses
import json
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from liverouter.routing.model_map import cost_usd
from liverouter.testing import StandIn
from tests.kit.dialects import DIALECTS
from tests.kit.standins import bodies, collect, live, run, served
from tests.kit.wires import LITELLM_WARNINGS, NATIVE_WARNINGS, WEATHER

if TYPE_CHECKING:
    from liverouter.revision import Deployment
    from liverouter.testing import MemoryRouter

pytestmark = [*LITELLM_WARNINGS, *NATIVE_WARNINGS]
MARK: Final = {"cache_control": {"type": "ephemeral"}}
AGENTS: Final = [
    SystemMessage("be brief"),
    HumanMessage("weather?"),
    AIMessage("", tool_calls=[{"name": "get_weather", "args": {"city": "Paris"}, "id": "call_1"}]),
    ToolMessage("sunny", tool_call_id="call_1"),
]
PLAIN: Final = [SystemMessage("be brief"), HumanMessage("hi")]
MARKED: Final = [SystemMessage([{"type": "text", "text": "a long manual", **MARK}]), HumanMessage("hi")]


def marks(body: Any) -> dict[str, int]:
    """Return how many marks stand in each part of a request's body."""
    return {name: json.dumps(body.get(name)).count("cache_control") for name in ("system", "messages", "tools")}


class TestMarks:
    @pytest.mark.parametrize(
        ("name", "enabled"),
        [
            ("anthropic", True),
            ("anthropic", False),
            ("vertex-ai claude", True),
            ("vertex-ai claude", False),
            ("snowflake claude", True),  # its class speaks another API there
        ],
    )
    def test_claude_s_prompt_is_marked(self, name: str, *, enabled: bool) -> None:
        """Up to the system message and up to the last one, a tool's result included; a caller's own marks alone."""
        dialect = DIALECTS[name]
        with (
            StandIn(dialect.provider) as standin,
            live(standin, model=dialect.model, litellm_enable=enabled) as client,
        ):
            model = client.chat_model()
            tools_too = dialect.provider != "snowflake-cortex"
            for messages, tools, expected in (
                (PLAIN, [WEATHER], {"system": 1, "messages": 1, "tools": 0}),
                (AGENTS, [WEATHER], {"system": 1, "messages": 1, "tools": 0}),
                (MARKED, [WEATHER], {"system": 1, "messages": 0, "tools": 0}),
                (
                    PLAIN,
                    [WEATHER | MARK],
                    {"system": 1 - tools_too, "messages": 1 - tools_too, "tools": int(tools_too)},
                ),
            ):
                model.bind_tools(tools).invoke(messages)
                assert marks(bodies(standin)[-1]) == expected
            assert standin.violations == ()
        assert PLAIN[0].content == "be brief"  # the caller's own is as it was

    @pytest.mark.parametrize("enabled", [True, False])
    @pytest.mark.parametrize("name", ["openai", "azure-openai", "snowflake", "snowflake claude"])
    def test_mark_of_a_tool_is_dropped_elsewhere(self, name: str, *, enabled: bool) -> None:
        """Nobody else knows it."""
        dialect = DIALECTS[name]
        with (
            StandIn(dialect.provider) as standin,
            live(standin, model=dialect.model, litellm_enable=enabled) as client,
        ):
            client.chat_model().bind_tools([WEATHER | MARK]).invoke("hi")
            assert marks(bodies(standin)[-1])["tools"] == 0
            assert "get_weather" in json.dumps(bodies(standin)[-1]["tools"])


def tokens(**details: int) -> Any:
    """Return the usage of a thousand tokens of prompt."""
    return {"input_tokens": 1000, "output_tokens": 0, "total_tokens": 1000, "input_token_details": details}


class TestCost:
    @pytest.fixture
    def claude(self, anthropic: StandIn) -> Deployment:
        """Return a deployment whose tokens cost 3 dollars a million, 3.75 and 6 where a cache is written."""
        with live(anthropic, litellm_enable=False) as client:
            return client.generation().snapshot.primary

    def test_cache_writes_have_their_price(self, claude: Deployment) -> None:
        """Also those that stay for an hour, and as either library counts them."""
        for details, expected in (
            ({}, 3000),
            ({"cache_creation": 400}, 600 * 3 + 400 * 3.75),
            ({"cache_creation": 0, "ephemeral_5m_input_tokens": 400}, 600 * 3 + 400 * 3.75),
            ({"cache_creation": 400, "ephemeral_5m_input_tokens": 400}, 600 * 3 + 400 * 3.75),
            ({"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 300}, 600 * 3 + 100 * 3.75 + 300 * 6),
            ({"cache_creation": 400, "ephemeral_1h_input_tokens": 400}, 600 * 3 + 400 * 6),
            ({"cache_read": 400}, 600 * 3 + 400 * 0.3),
        ):
            assert cost_usd(claude, tokens(**details)) == pytest.approx(expected / 1e6), details

    @pytest.mark.parametrize("stream", [False, True])
    def test_litellm_s_writes_have_theirs_too(self, anthropic: StandIn, *, stream: bool) -> None:
        """It does not tell for how long: by the marks of the request, and null where these ask for both."""
        hour = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
        cases: Any = (((MARK,), 3.75), ((hour,), 6), ((hour, MARK), None))
        with live(anthropic) as client:
            model: Any = client.chat_model()
            for number, (given, price) in enumerate(cases):
                blocks: list[Any] = [
                    {"type": "text", "text": f"manual {number} {at}", **m} for at, m in enumerate(given)
                ]
                asked = [SystemMessage(blocks), HumanMessage("hi")]
                message = self._asked(model, asked, stream=stream)
                used = message.usage_metadata
                written = used["input_token_details"]["cache_creation"]
                assert written > 0
                plain = (used["input_tokens"] - written) * 3 + used["output_tokens"] * 15
                expected = None if price is None else pytest.approx((plain + written * price) / 1e6)
                assert served(message)["cost_usd"] == expected

    @staticmethod
    def _asked(model: Any, messages: Any, *, stream: bool) -> Any:
        return run(lambda: collect(model, messages)) if stream else model.invoke(messages)

    def test_unknown_price_is_none(self, claude: Deployment) -> None:
        """Also where the list has the model at no price."""
        for model in ("claude-of-tomorrow", ""):
            assert cost_usd(dataclasses.replace(claude, model=model), tokens()) is None
        free = dataclasses.replace(claude, provider="vertex-ai", model="meta/llama-3.1-8b-instruct-maas")
        assert cost_usd(free, tokens()) is None

    def test_answer_of_litellm_s_cache_costs_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A call may ask for it; what nobody was asked for costs nothing, streamed or not."""
        import litellm

        monkeypatch.setitem(sys.modules, "soundfile", ModuleType("soundfile"))  # which litellm imports for a hit
        monkeypatch.setattr(litellm, "cache", litellm.Cache(type="local"))
        with StandIn("openai") as standin, live(standin) as client:
            assert [self.whole(client), self.whole(client)] == [pytest.approx(5.5e-05, rel=1), 0.0]
            assert [self.streamed(client), self.streamed(client)] == [pytest.approx(5.5e-05, rel=1), 0.0]
            assert standin.hits == 2

    @staticmethod
    def whole(client: MemoryRouter) -> Any:
        """Return what a whole answer cost."""
        return served(client.chat_model().invoke("hi", caching=True))["cost_usd"]

    @staticmethod
    def streamed(client: MemoryRouter) -> Any:
        """Return what a streamed answer cost."""
        return served(run(lambda: collect(client.chat_model(), caching=True)))["cost_usd"]
