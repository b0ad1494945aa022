"""Anthropic: the Messages API at its own hosts, by an API key."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from liverouter.providers.claude import PARAMETERS
from liverouter.providers.native import Http, NativeModel
from liverouter.providers.spec import NOWHERE, Dialect, Field, History, ProviderSpec, filled, is_claude, origin_and_path

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from liverouter.revision import Deployment

_BASE: Final = "https://api.anthropic.com"
_HOSTS: Final = re.compile(r"api\.anthropic\.com")
# Each tail that people paste behind a base reads a path once: a run is tried from its start alone, and kept whole.
_TAIL: Final = re.compile(r"(?<!/v1)(?:/v1)++(?:/messages)?\Z")
_VERSION: Final = "2023-06-01"  # as litellm sends; the newest takes no temperature
_CACHE_POINTS: Final = (
    {"location": "message", "role": "system"},
    {"location": "message", "index": -1},
)


def cached(model: str) -> dict[str, Any]:
    """Return litellm's options by which Claude's prompts are cached: up to the system message, and up to the last."""
    return {"cache_control_injection_points": [dict(point) for point in _CACHE_POINTS]} if is_claude(model) else {}


def _base(deployment: Deployment) -> str:
    """Return where calls go; never a library's choice, which asks the environment."""
    return deployment.settings.get("anthropic_api_base", _BASE)


def _url(url: str) -> str:
    origin, path = origin_and_path(url)
    return origin + _TAIL.sub("", path)  # litellm appends /v1/messages itself


def _params(deployment: Deployment) -> dict[str, Any]:
    return filled(
        model=f"anthropic/{deployment.model}",
        api_key=deployment.secrets["anthropic_api_key"].reveal(),
        api_base=_base(deployment),
    )


def _build(deployment: Deployment, http: Http) -> BaseChatModel:
    import anthropic
    from langchain_anthropic import ChatAnthropic
    from pydantic import SecretStr

    model = ChatAnthropic(
        model_name=deployment.model,
        api_key=SecretStr(deployment.secrets["anthropic_api_key"].reveal()),
        base_url=_base(deployment),
        timeout=http.timeout_s,
        stop=None,
        max_retries=0,
        default_headers={"anthropic-version": _VERSION},
    )
    # the package's own client is one for the whole process, whatever loop its pooled connections belong to
    client = http.client(anthropic.DefaultAsyncHttpxClient)
    model.__dict__["_async_client"] = anthropic.AsyncClient(**model._client_params, http_client=client)  # noqa: SLF001
    return model


CHAT_ANTHROPIC: Final = NativeModel(
    build=_build,
    package="langchain_anthropic",
    extra="anthropic",
    remembers=frozenset({"anthropic"}),
    takes_anthropic_blocks=True,
    promises=lambda chat: bool((chat.profile or {}).get("structured_output")),  # Claude's older models refuse a schema
)

_HISTORY: Final = History(marks=frozenset({"cache_control"}), rich_results=True)
_COMPLETES: Final = re.compile(r"claude-(?:instant-|v?[12]\b|3\b|3-|[a-z]+-(?:3\b|3-|4-[0-5](?!\d)|4-\d{8}|4$|4@))")


def history(model: str) -> History:
    """Return what Claude takes: up to version 4.5 it completes an answer that the caller has begun."""
    return replace(_HISTORY, user_last=not _COMPLETES.search(model))


_USAGE: Final = {
    "input_tokens": 1,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 0,
    "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
    "output_tokens": 1,
    "service_tier": "standard",
}
_CALL: Final = {"type": "tool_use", "id": "toolu_1", "name": "warm_up", "input": {}}
_WHOLE: Final[dict[str, Any]] = {
    "id": "warmup",
    "type": "message",
    "role": "assistant",
    "model": "warmup",
    "content": [{"type": "text", "text": "ok"}, _CALL],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": _USAGE,
}
MESSAGES: Final = Dialect(
    name="anthropic",
    params={"model": "anthropic/claude-sonnet-4-6", "api_base": NOWHERE},
    whole=_WHOLE,
    events=(
        {"type": "message_start", "message": {**_WHOLE, "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "ok"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": _CALL},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "{}"}},
        {"type": "content_block_stop", "index": 1},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": None}, "usage": _USAGE},
        {"type": "message_stop"},
    ),
)

SPEC: Final = ProviderSpec(
    name="anthropic",
    label="Anthropic",
    fields=(
        Field("anthropic_api_key", "secret", "API key", "api_key", example="sk-ant-…"),
        Field("anthropic_api_base", "url", "Base URL", "api_base", example="https://api.anthropic.com"),
    ),
    needs=(("anthropic_api_key",),),
    endpoint=lambda settings, _: settings.get("anthropic_api_base", _BASE),
    normalize_url=_url,
    own_hosts=_HOSTS,
    litellm_provider="anthropic",
    litellm_params=_params,
    litellm_options=lambda deployment: cached(deployment.model),
    native=lambda _: CHAT_ANTHROPIC,
    history=history,
    dialect=lambda _: MESSAGES,
    parameters=lambda _: PARAMETERS,
    libraries=("anthropic",),
    aliases=("claude",),
)
