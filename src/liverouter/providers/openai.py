"""OpenAI: the Chat Completions API at its own hosts or at a gateway that speaks it, by an API key."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from liverouter.providers.spec import (
    NOWHERE,
    Dialect,
    Field,
    History,
    Http,
    NativeModel,
    ProviderSpec,
    filled,
    origin_and_path,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.language_models import BaseChatModel

    from liverouter.revision import Deployment

_BASE: Final = "https://api.openai.com/v1"
_HOSTS: Final = re.compile(r"([a-z]{2}\.)?api\.openai\.com")  # of one region: eu.api.openai.com
_TAIL: Final = re.compile(r"(?<!/chat/completions)(?:/chat/completions)++\Z")  # what people paste; read once


def _base(deployment: Deployment) -> str:
    """Return where calls go; never a library's choice, which asks the environment."""
    return deployment.settings.get("openai_api_base", _BASE)


def _url(url: str) -> str:
    origin, path = origin_and_path(url)
    return origin + (_TAIL.sub("", path) or "/v1")  # a bare origin serves no OpenAI path


def _params(deployment: Deployment) -> dict[str, Any]:
    return filled(
        model=f"openai/{deployment.model}",
        api_key=deployment.secrets["openai_api_key"].reveal(),
        api_base=_base(deployment),
    )


def chat_options(deployment: Deployment, http: Http) -> dict[str, Any]:
    """Return what each class of langchain-openai is made with."""
    import openai
    from langchain_openai import ChatOpenAI

    options = deployment.params | {
        "timeout": http.timeout_s,
        "max_retries": 0,
        "stream_usage": True,  # off by default where base_url is set, and then streams report no tokens
        "http_async_client": http.client(openai.DefaultAsyncHttpxClient),
    }
    if "stream_chunk_timeout" in ChatOpenAI.model_fields:  # since 1.2
        options["stream_chunk_timeout"] = None  # ours bounds the silence; theirs takes a task for each chunk
    return options


def _build(deployment: Deployment, http: Http) -> BaseChatModel:
    from langchain_openai import ChatOpenAI
    from pydantic import SecretStr

    return ChatOpenAI(
        model=deployment.model,
        api_key=SecretStr(deployment.secrets["openai_api_key"].reveal()),
        base_url=_base(deployment),
        **chat_options(deployment, http),
    )


CHAT_OPENAI: Final = NativeModel(
    build=_build,
    package="langchain_openai",
    extra="openai",
    takes_openai_format=True,
    remembers=frozenset({"openai"}),
    # chat completions have no place for what the other API said
    remembers_in=lambda chat, request: bool(chat._use_responses_api(dict(request))),  # noqa: SLF001 - it tells nobody
)
HISTORY: Final = History(
    marks=frozenset({"prompt_cache_breakpoint"}), system_anywhere=True, takes_turns=False, user_last=False
)


def _client(params: Mapping[str, Any], client: Any) -> Any:
    import openai

    return openai.AsyncOpenAI(api_key=params["api_key"], base_url=params["api_base"], max_retries=0, http_client=client)


_USAGE: Final = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
_CALL: Final = {"id": "call_1", "type": "function", "function": {"name": "warm_up", "arguments": "{}"}}
_CHUNK: Final = {"id": "warmup", "object": "chat.completion.chunk", "created": 1, "model": "warmup"}
CHAT_COMPLETIONS: Final = Dialect(
    name="openai",
    params={"model": "openai/gpt-4o", "api_base": f"{NOWHERE}/v1"},
    whole={
        "id": "warmup",
        "object": "chat.completion",
        "created": 1,
        "model": "warmup",
        "choices": [
            {
                "index": 0,
                "finish_reason": "tool_calls",
                "message": {"role": "assistant", "content": "ok", "tool_calls": [_CALL]},
            }
        ],
        "usage": _USAGE,
    },
    events=(
        *(
            {**_CHUNK, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
            for delta, finish in (
                ({"role": "assistant", "content": "ok"}, None),
                ({"tool_calls": [{"index": 0, **_CALL}]}, None),
                ({}, "tool_calls"),
            )
        ),
        {**_CHUNK, "choices": [], "usage": _USAGE},
    ),
    end="data: [DONE]\n\n",
)

SPEC: Final = ProviderSpec(
    name="openai",
    label="OpenAI",
    fields=(
        Field("openai_api_key", "secret", "API key", "api_key", example="sk-…"),
        Field("openai_api_base", "url", "Base URL", "api_base", example="https://api.openai.com/v1"),
    ),
    needs=(("openai_api_key",),),
    endpoint=lambda settings, _: settings.get("openai_api_base", _BASE),
    normalize_url=_url,
    own_hosts=_HOSTS,
    litellm_provider="openai",
    litellm_params=_params,
    litellm_client=_client,
    native=lambda _: CHAT_OPENAI,
    history=lambda _: HISTORY,
    dialect=lambda _: CHAT_COMPLETIONS,
    libraries=("openai",),
    aliases=("gpt", "chatgpt"),
)
