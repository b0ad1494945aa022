"""Each provider is sent what its model takes of a call's parameters: the same by both engines, nothing it refuses.

Whatever a stand-in refuses fails the test in which it happens.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from langchain_core.exceptions import ModelInvalidRequestError
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from liverouter.errors import CallError
from liverouter.events import CallFitted, ConfigApplied
from liverouter.testing import EventLog, MemoryRouter, StandIn
from tests.kit.standins import bodies, collect, fallback, live, served

if TYPE_CHECKING:
    from collections.abc import Iterator

SENT_ANYWAY: Final = frozenset({"anthropicVersion", "contents", "messages", "model", "stream", "streamOptions"})
BUDGET: Final = {"type": "enabled", "budget_tokens": 2000}
ADAPTIVE: Final = {"type": "adaptive"}
SEARCH: Final = {"type": "object", "properties": {"text": {"type": "string"}}}
TOOL: Final = {"type": "function", "function": {"name": "search", "description": "d", "parameters": SEARCH}}

Place = tuple[str, str, dict[str, Any]]  # provider, model, and what is sent where the call gives nothing
GPT: Final[Place] = ("openai", "gpt-4o", {})
O3: Final[Place] = ("openai", "o3-mini", {})
GPT_5: Final[Place] = ("openai", "gpt-5.1", {})
AZURE: Final[Place] = ("azure-openai", "prod", {})
SONNET: Final[Place] = ("anthropic", "claude-sonnet-4-6", {"maxTokens": 128_000})
HAIKU: Final[Place] = ("anthropic", "claude-haiku-4-5", {"maxTokens": 64_000})
OPUS: Final[Place] = ("anthropic", "claude-opus-5", {"maxTokens": 128_000})
UNLISTED: Final[Place] = ("anthropic", "claude-opus-4-1", {"maxTokens": 32_000})  # litellm's list has it no more
VERTEX: Final[Place] = ("vertex-ai", "claude-sonnet-4-6", {"maxTokens": 64_000})
FLASH: Final[Place] = ("vertex-ai", "gemini-2.5-flash", {})
PRO: Final[Place] = ("vertex-ai", "gemini-2.5-pro", {})
FLASH_3: Final[Place] = ("vertex-ai", "gemini-3-flash-preview", {})
LLAMA: Final[Place] = ("snowflake-cortex", "llama3.1-70b", {})
CORTEX_GPT: Final[Place] = ("snowflake-cortex", "openai-gpt-5", {})
CORTEX_CLAUDE: Final[Place] = ("snowflake-cortex", "claude-sonnet-4-6", {"maxTokens": 16_384})

CASES: Final = [  # where, what the call gives, what is sent beside the place's own
    (GPT, {"temperature": 1.5, "top_p": 0.5}, {"temperature": 1.5, "topP": 0.5}),
    (GPT, {"top_k": 5, "thinking": BUDGET, "frobnicate": 1, "max_retries": 1}, {}),
    (GPT, {"max_tokens": 10**6}, {"maxTokens": 16_384}),
    (GPT, {"max_output_tokens": 7.0, "candidate_count": 0}, {"maxTokens": 7, "n": 1}),
    (GPT, {"stop": list("abcdef")}, {"stop": list("abcd")}),
    (GPT, {"seed": 7, "user": "u", "n": 2}, {"seed": 7, "user": "u", "n": 2}),
    (GPT, {"top_logprobs": 2}, {"logprobs": True, "topLogprobs": 2}),
    (GPT, {"frequency_penalty": 3, "presence_penalty": -3}, {"frequencyPenalty": 2, "presencePenalty": -2}),
    (GPT, {"reasoning_effort": "high", "verbosity": "low"}, {}),
    (GPT, {"service_tier": "flex", "store": True}, {"serviceTier": "flex", "store": True}),
    (GPT, {"service_tier": "standard_only", "parallel_tool_calls": False}, {}),
    (GPT, {"prompt_cache_key": "k", "safety_identifier": "s"}, {"promptCacheKey": "k", "safetyIdentifier": "s"}),
    (GPT, {"cache_control": {"type": "ephemeral"}, "safety_settings": {}, "betas": ["x"]}, {}),
    (O3, {"temperature": 0.5, "top_p": 0.5, "stop": ["a"], "logprobs": True, "presence_penalty": 1}, {}),
    (O3, {"max_tokens": 99, "reasoning_effort": "none"}, {"maxTokens": 99, "reasoningEffort": "low"}),
    (O3, {"thinking": BUDGET}, {"reasoningEffort": "medium"}),
    (GPT_5, {"thinking": {"type": "disabled"}, "verbosity": "low"}, {"reasoningEffort": "none", "verbosity": "low"}),
    (GPT_5, {"modalities": ["text"], "prediction": {"type": "content", "content": "x"}}, {}),
    (AZURE, {"temperature": 1.5, "top_k": 5, "max_tokens": 10**6}, {"temperature": 1.5, "maxTokens": 16_384}),
    (AZURE, {"service_tier": "auto", "seed": 7}, {"serviceTier": "auto", "seed": 7}),
    (SONNET, {}, {}),
    (SONNET, {"temperature": 1.5, "top_p": 0.5, "top_k": 5}, {"temperature": 1.0, "topK": 5}),
    (SONNET, {"top_p": 0.5, "stop": [*"abcdef", " "]}, {"topP": 0.5, "stopSequences": list("abcdef")}),
    (SONNET, {"seed": 7, "n": 2, "logprobs": True, "presence_penalty": 1, "verbosity": "low", "store": True}, {}),
    (SONNET, {"user": "u"}, {"metadata": {"userId": "u"}}),
    (SONNET, {"user": "somebody@example.com"}, {}),
    (SONNET, {"service_tier": "default"}, {"serviceTier": "standard_only"}),
    (SONNET, {"reasoning_effort": "high"}, {"thinking": ADAPTIVE, "outputConfig": {"effort": "high"}}),
    (SONNET, {"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
    (SONNET, {"thinking": BUDGET, "temperature": 0.2, "top_k": 5, "top_p": 0.5}, {"thinking": BUDGET}),
    (
        SONNET,
        {"thinking": {"type": "enabled", "budget_tokens": 9000}, "max_tokens": 2000},
        {"maxTokens": 2000, "thinking": {"type": "enabled", "budget_tokens": 1999}},
    ),
    (SONNET, {"thinking": BUDGET, "max_tokens": 900, "temperature": 0.2}, {"maxTokens": 900, "temperature": 0.2}),
    (SONNET, {"thinking": BUDGET, "tools": [TOOL], "tool_choice": "any"}, {}),
    (SONNET, {"context_management": {"edits": []}}, {"contextManagement": {"edits": []}}),
    (SONNET, {"cache_control": {"type": "ephemeral"}}, {"cacheControl": {"type": "ephemeral"}}),
    (HAIKU, {"reasoning_effort": "low"}, {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
    (HAIKU, {"thinking": ADAPTIVE}, {"thinking": {"type": "enabled", "budget_tokens": 2048}}),
    (UNLISTED, {"thinking": ADAPTIVE}, {"thinking": {"type": "enabled", "budget_tokens": 2048}}),
    (UNLISTED, {"max_tokens": 64_000}, {}),
    (OPUS, {"temperature": 0.5, "top_p": 0.5, "top_k": 5}, {}),
    (OPUS, {"thinking": BUDGET}, {"thinking": ADAPTIVE, "outputConfig": {"effort": "medium"}}),
    (VERTEX, {"temperature": 1.5, "service_tier": "auto", "seed": 7}, {"temperature": 1.0}),
    (VERTEX, {"max_tokens": 10**6, "user": "u"}, {"metadata": {"userId": "u"}}),
    (FLASH, {}, {}),
    (FLASH, {"temperature": 1.5, "top_k": 5, "seed": 7, "user": "u"}, {"temperature": 1.5, "topK": 5, "seed": 7}),
    (FLASH, {"max_tokens": 10**6, "stop": list("abcdef")}, {"maxTokens": 65_535, "stopSequences": list("abcde")}),
    (FLASH, {"n": 2, "top_logprobs": 2}, {"candidateCount": 2, "responseLogprobs": True, "logprobs": 2}),
    (FLASH, {"frequency_penalty": 0.5, "logit_bias": {"5": 1}, "cache_control": {}}, {"frequencyPenalty": 0.5}),
    (FLASH, {"reasoning_effort": "low"}, {"thinkingConfig": {"thinkingBudget": 1024, "includeThoughts": True}}),
    (FLASH, {"thinking_budget": 99_999}, {"thinkingConfig": {"thinkingBudget": 24_576, "includeThoughts": True}}),
    (FLASH, {"thinking": {"type": "disabled"}}, {"thinkingConfig": {"thinkingBudget": 0}}),
    (PRO, {"reasoning_effort": "none"}, {"thinkingConfig": {"thinkingBudget": 128}}),
    (FLASH_3, {"thinking": BUDGET}, {"thinkingConfig": {"thinkingLevel": "medium", "includeThoughts": True}}),
    (FLASH_3, {"reasoning_effort": "none", "presence_penalty": 1}, {"thinkingConfig": {"thinkingLevel": "minimal"}}),
    (FLASH, {"labels": {"a": "b"}, "modalities": ["text"]}, {"labels": {"a": "b"}, "responseModalities": ["TEXT"]}),
    (LLAMA, {"temperature": 1.5, "top_p": 0.5, "stop": ["a"]}, {"temperature": 1.0, "topP": 0.5, "stop": ["a"]}),
    (LLAMA, {"seed": 7, "n": 2, "user": "u", "top_k": 5, "logprobs": True, "reasoning_effort": "low"}, {}),
    (CORTEX_GPT, {"temperature": 0.5, "reasoning_effort": "low"}, {"reasoningEffort": "low"}),
    (CORTEX_CLAUDE, {"temperature": 1.5, "top_p": 0.5, "seed": 7, "user": "u"}, {"temperature": 1.0}),
]
LIMITS: Final = ("maxCompletionTokens", "maxOutputTokens")
DEFAULTS: Final[tuple[tuple[str, Any], ...]] = (("candidateCount", 1), ("safetySettings", []))  # said or not


def _camel(name: str) -> str:
    return re.sub("_([a-z])", lambda found: found[1].upper(), name)


def sent(standin: StandIn) -> dict[str, Any]:
    """Return the parameters of the newest request, by their names in camel case; those of tools left out."""
    body = bodies(standin)[-1]
    body |= body.pop("generationConfig", {})
    named = {_camel(name): value for name, value in body.items()}
    for name in LIMITS:
        if name in named:
            named["maxTokens"] = named.pop(name)
    for name in ("metadata", "thinkingConfig"):
        if name in named:
            named[name] = {_camel(inner): value for inner, value in named[name].items()}
    if "thinkingLevel" in (thinking := named.get("thinkingConfig", {})):
        thinking["thinkingLevel"] = thinking["thinkingLevel"].lower()
    kept = {name: value for name, value in named.items() if (name, value) not in DEFAULTS}
    return {name: value for name, value in kept.items() if name not in SENT_ANYWAY | {"tools", "toolChoice"}}


class World:
    """Stand-ins and clients of this file, each made once: a call is cheap, to build what makes it is not."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._made: dict[tuple[str, str, bool], tuple[StandIn, MemoryRouter]] = {}
        self.events = EventLog()

    def at(self, provider: str, model: str, *, enabled: bool) -> tuple[StandIn, MemoryRouter]:
        """Return the stand-in of *provider* and a client whose primary is *model* there."""
        key = (provider, model, enabled)
        if key not in self._made:
            standin = self._stack.enter_context(StandIn(provider))
            client = self._stack.enter_context(
                live(standin, model=model, observers=(self.events,), litellm_enable=enabled)
            )
            self._made[key] = (standin, client)
        return self._made[key]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """The stand-ins and clients."""
    with ExitStack() as stack:
        yield World(stack)


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize(("place", "given", "expected"), CASES)
def test_a_model_is_sent_what_it_takes(world: World, place: Any, given: Any, expected: Any, *, enabled: bool) -> None:
    """Translated where the provider has a word for it, brought into its range, left out where it has none."""
    provider, model, anyway = place
    standin, client = world.at(provider, model, enabled=enabled)
    assert client.chat_model().invoke("hi", **given).response_metadata["liverouter"]["model"] == model
    assert sent(standin) == anyway | expected


@pytest.mark.parametrize("enabled", [True, False])
class TestCalls:
    def test_what_is_bound_and_streamed_is_fitted_as_well(self, world: World, *, enabled: bool) -> None:
        """`bind` and streams are no other calls."""
        standin, client = world.at("anthropic", "claude-sonnet-4-6", enabled=enabled)
        bound = client.chat_model().bind(top_k=5, seed=7, temperature=2)
        asyncio.run(collect(bound, "hi"))  # type: ignore[arg-type]  # a binding streams as its model does
        assert sent(standin) == {"maxTokens": 128_000, "topK": 5, "temperature": 1.0}

    def test_headers_and_members_of_the_callers_own_arrive(self, world: World, *, enabled: bool) -> None:
        """`extra_headers` and `extra_body` are for one provider, and go as they are."""
        for place in (GPT, SONNET):
            standin, client = world.at(*place[:2], enabled=enabled)
            more = {"service_tier": "auto"}
            client.chat_model().invoke("hi", extra_headers={"user-agent": "our own"}, extra_body=more)
            assert standin.requests[-1].headers["user-agent"] == "our own"
            assert sent(standin) == place[2] | {"serviceTier": "auto"}

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("max_tokens", "12"),
            ("temperature", True),
            ("temperature", float("nan")),
            ("top_k", 1.5),
            ("n", [1]),
            ("stop", [1]),
            ("seed", "7"),
            ("logprobs", 1),
            ("user", 7),
            ("reasoning_effort", "extreme"),
            ("thinking", {"type": "enabled"}),
            ("thinking_budget", "2000"),
            ("response_format", "json"),
            ("max_retries", "two"),
            ("timeout", "soon"),
            ("timeout", 0),
            ("timeout", -1.0),
            ("extra_body", []),
        ],
    )
    def test_a_value_of_the_wrong_type_is_one_error_of_ours(
        self, world: World, name: str, value: Any, *, enabled: bool
    ) -> None:
        """It names the parameter and not its value; nothing leaves, and nobody cools."""
        standin, client = world.at("openai", "gpt-4o", enabled=enabled)
        before = len(standin.requests)
        with pytest.raises(CallError, match=f"'{name.removesuffix('_budget')}' wants") as caught:
            client.chat_model().invoke("hi", **{name: value})
        assert (caught.value.code, str(value) in caught.value.message) == ("LR313", False)
        assert isinstance(caught.value, ModelInvalidRequestError)
        assert len(standin.requests) == before
        assert client.generation().cooling == {}

    def test_one_event_names_what_was_left_out(self, world: World, *, enabled: bool) -> None:
        """Once per call, with the deployment; no value."""
        _, client = world.at("anthropic", "claude-sonnet-4-6", enabled=enabled)
        before = len(world.events.of(CallFitted))
        client.chat_model().invoke("hi", seed=7, temperature=1.5, frobnicate="secret", max_tokens=9)
        client.chat_model().invoke("hi", max_tokens=9)
        told = world.events.of(CallFitted)[before:]
        assert [event.parameters for event in told] == [("frobnicate", "seed", "temperature")]
        assert told[0].deployment.startswith("anthropic/claude-sonnet-4-6#")

    def test_a_fallback_takes_what_the_primary_took(self, *, enabled: bool) -> None:
        """Parameters of OpenAI, a Claude that samples no more: the fallback answers."""
        given: dict[str, Any] = {
            "temperature": 1.7,
            "top_p": 0.3,
            "seed": 7,
            "user": "u",
            "stop": ["a"],
            "max_tokens": 10**6,
            "n": 1,
        }
        with StandIn("openai") as first, StandIn("anthropic") as second:
            spare = fallback(second, "claude-opus-5")
            with live(first, second, llm_fallback_config=[spare], litellm_enable=enabled) as client:
                first.fail("503", times=None)
                answer = client.chat_model().invoke("hi", extra_body={"service_tier": "flex"}, **given)
                assert served(answer)["role"] == "fallback"
                assert sent(second) == {"maxTokens": 128_000, "stopSequences": ["a"], "metadata": {"userId": "u"}}

    def test_a_tool_call_of_another_model_is_answered_without_thinking(self, world: World, *, enabled: bool) -> None:
        """Claude, told to think, wants the thought before the call; a model that had none left none."""
        standin, client = world.at("anthropic", "claude-haiku-4-5", enabled=enabled)
        called = [HumanMessage("hi"), AIMessage("", tool_calls=[{"name": "search", "args": {}, "id": "call_1"}])]
        result, more = ToolMessage("found", tool_call_id="call_1"), HumanMessage("and?")
        model = client.chat_model().bind_tools([TOOL]).bind(thinking=BUDGET)
        for history in ([*called, result], [*called, result, more], [*called, more]):
            model.invoke(history)
            assert "thinking" not in sent(standin)
        model.invoke([*called, result, AIMessage("there"), more])
        assert sent(standin)["thinking"] == BUDGET


@pytest.mark.parametrize("enabled", [True, False])
class TestRows:
    def test_what_rows_say_is_fitted_and_told(self, *, enabled: bool) -> None:
        """A fallback is sent what its model takes of what it inherits, and a warning says what that is."""
        events = EventLog()
        with StandIn("openai") as first, StandIn("anthropic") as second:
            spares = [fallback(second, "claude-sonnet-4-6"), fallback(second, "claude-opus-5")]
            rows: dict[str, Any] = {"llm_temperature": 1.5, "llm_max_tokens": 200_000, "llm_fallback_config": spares}
            with live(first, second, observers=(events,), litellm_enable=enabled, **rows) as client:
                model = client.chat_model()
                model.invoke("hi")
                assert sent(first) == {"temperature": 1.5, "maxTokens": 16_384}
                first.fail("503", times=None)
                model.invoke("hi")
                assert sent(second) == {"temperature": 1.0, "maxTokens": 128_000}
        warnings = events.of(ConfigApplied)[-1].warnings
        assert {(p.code, p.severity) for p in warnings} == {("LR114", "warning")}
        assert [p.message for p in warnings] == [
            "openai/gpt-4o answers with 16384 tokens at most: max_tokens 16384 is sent, not 200000",
            "anthropic/claude-sonnet-4-6 takes temperature from 0 to 1: 1 is sent, not 1.5",
            "anthropic/claude-sonnet-4-6 answers with 128000 tokens at most: max_tokens 128000 is sent, not 200000",
            "anthropic/claude-opus-5 takes no temperature: none is sent, not 1.5",
            "anthropic/claude-opus-5 answers with 128000 tokens at most: max_tokens 128000 is sent, not 200000",
        ]

    def test_a_call_that_thinks_is_sent_no_temperature_of_the_rows(self, *, enabled: bool) -> None:
        """What excludes each other is settled over rows and call together."""
        rows: dict[str, Any] = {"litellm_enable": enabled, "llm_temperature": 0.2, "llm_max_tokens": 3000}
        with StandIn("anthropic") as standin, live(standin, **rows) as client:
            client.chat_model().invoke("hi", thinking=BUDGET)
            assert sent(standin) == {"maxTokens": 3000, "thinking": BUDGET}
            client.chat_model().invoke("hi")
            assert sent(standin) == {"maxTokens": 3000, "temperature": 0.2}


GIVEN: Final = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.floats(-3, 3),
        "top_p": st.floats(-1, 2),
        "top_k": st.integers(-5, 500),
        "max_tokens": st.integers(-5, 10**6),
        "stop": st.lists(st.sampled_from(["a", "b", " ", "end"]), max_size=7),
        "seed": st.integers(0, 9),
        "n": st.integers(-1, 3),
        "user": st.sampled_from(["u", "somebody@example.com"]),
        "frequency_penalty": st.floats(-3, 3),
        "logprobs": st.booleans(),
        "top_logprobs": st.integers(-1, 30),
        "reasoning_effort": st.sampled_from(["none", "minimal", "low", "medium", "high", "xhigh", "max"]),
        "thinking": st.one_of(
            st.just(ADAPTIVE),
            st.just({"type": "disabled"}),
            st.builds(lambda budget: {"type": "enabled", "budget_tokens": budget}, st.integers(-5, 10**5)),
        ),
        "verbosity": st.sampled_from(["low", "lower"]),
        "service_tier": st.sampled_from(["auto", "default", "flex", "standard_only"]),
        "parallel_tool_calls": st.booleans(),
        "include_thoughts": st.booleans(),
        "cache_control": st.just({"type": "ephemeral"}),
        "tool_choice": st.sampled_from(["auto", "any", "search"]),
    },
)
ANYWHERE: Final = (
    GPT,
    O3,
    GPT_5,
    AZURE,
    SONNET,
    HAIKU,
    OPUS,
    VERTEX,
    FLASH,
    PRO,
    FLASH_3,
    LLAMA,
    CORTEX_GPT,
    CORTEX_CLAUDE,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(place=st.sampled_from(ANYWHERE), given_=GIVEN, enabled=st.booleans())
def test_whatever_is_given_no_provider_refuses_it(world: World, place: Place, given_: Any, *, enabled: bool) -> None:
    """Any parameters that are well typed, with and without a tool that must be called."""
    standin, client = world.at(*place[:2], enabled=enabled)
    model: Any = client.chat_model()
    if "tool_choice" in given_:
        model = model.bind_tools([TOOL])
    refused = len(standin.violations)
    model.invoke("hi", **given_)
    assert len(standin.violations) == refused
