"""Stand-ins refuse the parameters that the real APIs refuse, by model; with the provider's status and error shape."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, Final

import httpx
import pytest

from liverouter.testing import StandIn

Request = tuple[str, str, dict[str, str], dict[str, Any]]  # provider, path, headers, body
HI: Final[list[dict[str, Any]]] = [{"role": "user", "content": "hi"}]
BEARER: Final = {"authorization": "Bearer standin-key"}
TOOL: Final = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
FORCED: Final = {
    "tools": [{"name": "f", "input_schema": {"type": "object"}}],
    "tool_choice": {"type": "any"},
}
MODELS: Final = "/v1/projects/p/locations/us-east5/publishers"


def openai(model: str, **more: Any) -> Request:
    """Return a request to OpenAI."""
    return "openai", "/v1/chat/completions", BEARER, {"model": model, "messages": HI, **more}


def azure(model: str, **more: Any) -> Request:
    """Return a request to the Azure deployment that is called *model*."""
    path = f"/openai/deployments/{model}/chat/completions?api-version=2024-10-21"
    return "azure-openai", path, {"api-key": "k"}, {"messages": HI, **more}


def anthropic(model: str, **more: Any) -> Request:
    """Return a request to Anthropic."""
    headers = {"x-api-key": "k", "anthropic-version": "2023-06-01"}
    return "anthropic", "/v1/messages", headers, {"model": model, "messages": HI, "max_tokens": 9000, **more}


def claude_on_vertex(model: str, **more: Any) -> Request:
    """Return a request to Claude on Vertex."""
    body = {"anthropic_version": "vertex-2023-10-16", "messages": HI, "max_tokens": 9000, **more}
    return "vertex-ai", f"{MODELS}/anthropic/models/{model}:rawPredict", BEARER, body


def gemini(model: str, **more: Any) -> Request:
    """Return a request to Gemini, with *more* in its `generationConfig`."""
    body = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}], "generationConfig": more}
    return "vertex-ai", f"{MODELS}/google/models/{model}:generateContent", BEARER, body


def cortex(model: str, **more: Any) -> Request:
    """Return a request to Snowflake."""
    body = {"model": model, "messages": HI, **more}
    return "snowflake-cortex", "/api/v2/cortex/v1/chat/completions", BEARER, body


def thinking(budget: int) -> dict[str, Any]:
    """Return thinking of *budget* tokens."""
    return {"type": "enabled", "budget_tokens": budget}


REFUSED: Final = [
    (openai("gpt-4o", top_k=5), "'top_k'"),
    (openai("gpt-4o", thinking=thinking(2000)), "'thinking'"),
    (openai("gpt-4o", max_retries=1), "'max_retries'"),
    (openai("gpt-4o", max_tokens=16_385), "16384"),
    (openai("gpt-4o", max_completion_tokens=16_385), "16384"),
    (openai("gpt-4o", max_tokens=0), "at least 1"),
    (openai("gpt-4o", temperature=2.1), "'temperature'"),
    (openai("gpt-4o", temperature=-0.1), "'temperature'"),
    (openai("gpt-4o", top_p=1.1), "'top_p'"),
    (openai("gpt-4o", presence_penalty=3), "'presence_penalty'"),
    (openai("gpt-4o", stop=["a", "b", "c", "d", "e"]), "at most 4"),
    (openai("gpt-4o", n=0), "'n'"),
    (openai("gpt-4o", reasoning_effort="low"), "'reasoning_effort'"),
    (openai("gpt-4o", service_tier="standard_only"), "'service_tier'"),
    (openai("gpt-4o", top_logprobs=2), "'logprobs'"),
    (openai("gpt-4o", parallel_tool_calls=False), "'tools'"),
    (openai("gpt-4o", tools=[{"type": "web_search"}]), "'function'"),
    (anthropic("claude-sonnet-4-6", tools=[{"googleSearch": {}}]), "tools.0"),
    (anthropic("claude-sonnet-4-6", tools=[{"type": "web_search"}]), "tools.0"),
    (openai("o3-mini", max_tokens=9), "'max_completion_tokens'"),
    (openai("o3-mini", temperature=0.5), "'temperature'"),
    (openai("o3-mini", reasoning_effort="minimal"), "high, low, medium"),
    (openai("gpt-5-mini", top_p=0.5), "'top_p'"),
    (openai("gpt-5.1", stop=["a"]), "'stop'"),
    (openai("gpt-5", frequency_penalty=1), "'frequency_penalty'"),
    (openai("gpt-5", presence_penalty=1), "'presence_penalty'"),
    (azure("gpt-5", temperature=0.5), "'temperature'"),
    (azure("prod", top_k=1), "'top_k'"),
    (anthropic("claude-sonnet-4-6", temperature=1.1), "temperature"),
    (anthropic("claude-sonnet-4-6", temperature=0.5, top_p=0.5), "cannot both"),
    (anthropic("claude-opus-4-7", temperature=1), "`temperature`"),
    (anthropic("claude-sonnet-5", top_p=1), "`top_p`"),
    (anthropic("claude-opus-5", top_k=5), "`top_k`"),
    (anthropic("claude-sonnet-4-6", thinking=thinking(2000), temperature=0.5), "only be set to 1"),
    (anthropic("claude-sonnet-4-6", thinking=thinking(2000), top_k=5), "`top_k` must be unset"),
    (anthropic("claude-sonnet-4-6", thinking=thinking(2000), top_p=0.5), "`top_p` must be at least"),
    (anthropic("claude-sonnet-4-6", thinking=thinking(2000), **FORCED), "forces tool use"),
    (anthropic("claude-sonnet-4-6", thinking=thinking(9000)), "must be greater"),
    (anthropic("claude-sonnet-4-6", thinking=thinking(1023)), "1024"),
    (anthropic("claude-sonnet-4-5", thinking={"type": "adaptive"}), "adaptive"),
    (anthropic("claude-opus-4-8", thinking=thinking(2000)), "adaptive thinking alone"),
    (anthropic("claude-opus-5-5", thinking={"type": "disabled"}), "cannot be told"),
    (anthropic("claude-sonnet-4-5", max_tokens=64_001), "64000"),
    (anthropic("claude-sonnet-4-6", max_tokens=None), "max_tokens: Field required"),
    (anthropic("claude-sonnet-4-6", metadata={"trace": "1"}), "metadata.trace"),
    (anthropic("claude-sonnet-4-6", service_tier="flex"), "service_tier"),
    (anthropic("claude-sonnet-4-6", output_config={"effort": "tiny"}), "output_config.effort"),
    *((anthropic("claude-sonnet-4-6", **{name: 1}), name) for name in ("seed", "user", "n", "presence_penalty")),
    (claude_on_vertex("claude-sonnet-4-5", max_tokens=64_001), "64000"),
    (gemini("gemini-2.5-flash", temperature=2.1), "temperature"),
    (gemini("gemini-2.5-flash", maxOutputTokens=65_537), "65536"),
    (gemini("gemini-2.5-flash", reasoningEffort="low"), "reasoningEffort"),
    (gemini("gemini-2.5-flash", seed="7"), "seed"),
    (gemini("gemini-2.5-flash", stopSequences=list("abcdef")), "stop sequences"),
    (gemini("gemini-2.5-flash", thinkingConfig={"thinkingBudget": 30_000}), "24576"),
    (gemini("gemini-2.5-pro", thinkingConfig={"thinkingBudget": 0}), "128"),
    (gemini("gemini-2.5-flash", thinkingConfig={"thinkingLevel": "low"}), "level low"),
    (gemini("gemini-3.1-pro-preview", thinkingConfig={"thinkingLevel": "minimal"}), "level minimal"),
    (gemini("gemini-3-flash-preview", thinkingConfig={"thinkingLevel": "low", "thinkingBudget": 9}), "both"),
    (gemini("gemini-2.0-flash", thinkingConfig={"thinkingBudget": 9}), "not supported"),
    (cortex("llama3.1-70b", temperature=1.1), "temperature"),
    (cortex("llama3.1-70b", max_tokens=16_385), "16384"),
    *((cortex("llama3.1-70b", **{name: 1}), f"'{name}'") for name in ("seed", "user", "n", "top_k", "logprobs")),
    (cortex("claude-sonnet-4-6", reasoning_effort="low"), "reasoning_effort"),
    (cortex("openai-gpt-5", temperature=0.5), "'temperature'"),
]
ACCEPTED: Final = [
    openai("gpt-4o", temperature=2, top_p=1, max_tokens=16_384, stop=list("abcd"), n=2, tools=[TOOL]),
    openai("o3-mini", temperature=1, max_completion_tokens=100_000, reasoning_effort="low"),
    openai("some-gateways-model", max_tokens=1_000_000, reasoning_effort="low"),
    azure("prod", temperature=0.5, max_tokens=9),
    anthropic("claude-sonnet-4-6", thinking=thinking(2000), temperature=1),
    anthropic("claude-sonnet-4-6", thinking={"type": "adaptive"}, output_config={"effort": "low"}),
    anthropic("claude-opus-5", thinking={"type": "adaptive"}, max_tokens=128_000),
    anthropic("claude-sonnet-4-6", temperature=0.5, top_k=5, metadata={"user_id": "u"}, service_tier="auto"),
    gemini("gemini-2.5-flash", temperature=2, topK=5, seed=7, thinkingConfig={"thinkingBudget": 0}),
    gemini("gemini-3-flash-preview", thinkingConfig={"thinkingLevel": "MINIMAL"}),
    anthropic("claude-sonnet-4-6", tools=[{"type": "web_search_20250305", "name": "web_search"}]),
    cortex("llama3.1-70b", temperature=1, top_p=0.5, max_completion_tokens=9, stop=["a"]),
    cortex("openai-gpt-5", reasoning_effort="low", max_tokens=9),
]


@pytest.fixture(scope="module")
def standins() -> Any:
    """One stand-in of each provider, by its name."""
    names = ("openai", "azure-openai", "anthropic", "vertex-ai", "snowflake-cortex")
    with ExitStack() as stack:
        yield {name: stack.enter_context(StandIn(name)) for name in names}


def post(standins: Any, request: Request) -> httpx.Response:
    """Send a request to its stand-in."""
    provider, path, headers, body = request
    return httpx.post(standins[provider].base_url + path, headers=headers, json=body, timeout=60)


@pytest.mark.parametrize(("request_", "complaint"), REFUSED)
def test_what_the_model_does_not_take_is_refused(standins: Any, request_: Any, complaint: str) -> None:
    """As 400, with the parameter's name in the provider's error shape."""
    answer = post(standins, request_)
    assert answer.status_code == 400
    body = answer.json()
    assert complaint in (body.get("error") or body)["message"]


@pytest.mark.parametrize("request_", ACCEPTED)
def test_what_the_model_takes_is_taken(standins: Any, request_: Any) -> None:
    """Up to the end of each range."""
    answer = post(standins, request_)
    assert answer.status_code == 200, answer.text
