"""OpenAI: the Chat Completions API at its own hosts or at a gateway that speaks it, by an API key."""

from __future__ import annotations

import functools
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

from liverouter.providers.native import Http, NativeModel
from liverouter.providers.openai_client import quick
from liverouter.providers.parameters import Api, Model, Takes, effort_of, nearest
from liverouter.providers.spec import NOWHERE, Dialect, Field, History, ProviderSpec, filled, origin_and_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.language_models import BaseChatModel

    from liverouter.revision import Deployment

_BASE: Final = "https://api.openai.com/v1"
_HOSTS: Final = re.compile(r"([a-z]{2}\.)?api\.openai\.com")  # of one region: eu.api.openai.com
_TAIL: Final = re.compile(r"(?<!/chat/completions)(?:/chat/completions)++\Z")  # what people paste; read once


_REASONS: Final = re.compile(r"\A(?:ft:)?(o[1-9]\b|gpt-[5-9])(?!.*-chat)")
_NOT_OF_REASONING: Final = frozenset(
    {
        "audio",
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "modalities",
        "prediction",
        "presence_penalty",
        "stop",
        "temperature",
        "top_logprobs",
        "top_p",
        "web_search_options",
    }
)
_OF_REASONING: Final = frozenset({"reasoning_effort", "thinking", "verbosity"})


def _lacks(model: Model) -> frozenset[str]:
    """Return what *model* does not take: one that reasons no sampling, one that is known not to reason no effort."""
    if _REASONS.match(model.name):
        return _NOT_OF_REASONING
    return _OF_REASONING if model.facts else frozenset()


def _settle(sent: dict[str, Any], model: Model, *, forced: bool) -> None:
    """Say how much to reason in OpenAI's word; `top_logprobs` needs `logprobs`."""
    del forced  # which a model that reasons obeys
    effort = effort_of(sent)
    sent.pop("thinking", None)
    if effort is not None:
        sent["reasoning_effort"] = nearest(effort, _efforts(model)) if _REASONS.match(model.name) else effort
    if "top_logprobs" in sent:
        sent["logprobs"] = True


def _efforts(model: Model) -> frozenset[str]:
    """Return the efforts that *model* knows."""
    more = ("none", "minimal", "xhigh", "max")
    said = {effort for effort in more if model.facts.get(f"supports_{effort}_reasoning_effort") is True}
    return frozenset({"low", "medium", "high"} | said)


def _litellm_words(sent: dict[str, Any]) -> dict[str, Any]:
    """Return *sent* with what litellm takes for its own, or drops, beside its parameters."""
    body = {name: sent.pop(name) for name in _IN_BODY if name in sent}
    return sent | {"extra_body": body | sent.get("extra_body", {})} if body else sent


_IN_BODY: Final = ("prompt_cache_key", "safety_identifier", "store", "verbosity")
_TOOLS: Final = re.compile(  # of the Responses API, to which its LangChain class turns for them, and litellm does not
    r"(web_search|web_search_preview)(_\d{4}_\d\d_\d\d)?|file_search|code_interpreter|image_generation|mcp"
    r"|computer|computer_use_preview|local_shell|shell|apply_patch|tool_search"
)
PARAMETERS: Final = Api(
    takes={
        "temperature": Takes("temperature", 0, 2),
        "top_p": Takes("top_p", 0, 1),
        "max_tokens": Takes("max_completion_tokens", 1),
        "stop": Takes("stop", most=4),
        "seed": Takes("seed"),
        "n": Takes("n", 1, 128),
        "frequency_penalty": Takes("frequency_penalty", -2, 2),
        "presence_penalty": Takes("presence_penalty", -2, 2),
        "logprobs": Takes("logprobs"),
        "top_logprobs": Takes("top_logprobs", 0, 20),
        "logit_bias": Takes("logit_bias"),
        "reasoning_effort": Takes("reasoning_effort"),
        "thinking": Takes("reasoning_effort"),
        "verbosity": Takes("verbosity", only=("low", "medium", "high")),
        "parallel_tool_calls": Takes("parallel_tool_calls"),
        "service_tier": Takes("service_tier", only=("auto", "default", "flex", "scale", "priority")),
        "user": Takes("user"),
        "store": Takes("store"),
        "prediction": Takes("prediction"),
        "modalities": Takes("modalities"),
        "audio": Takes("audio"),
        "prompt_cache_key": Takes("prompt_cache_key"),
        "safety_identifier": Takes("safety_identifier"),
        "web_search_options": Takes("web_search_options"),
        "extra_headers": Takes("HTTP headers"),
        "extra_body": Takes("members of the body"),
    },
    lacks=_lacks,
    settle=_settle,
    litellm=_litellm_words,
    native_tools=_TOOLS,
)


_NOT_IN_RESPONSES: Final = frozenset(
    {
        "audio",
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "modalities",
        "n",
        "prediction",
        "presence_penalty",
        "seed",
        "stop",
        "top_logprobs",
        "web_search_options",
    }
)
_RESPONSES: Final = replace(
    PARAMETERS,
    takes={name: takes for name, takes in PARAMETERS.takes.items() if name not in _NOT_IN_RESPONSES}
    | {"max_tokens": Takes("max_output_tokens", 16)},
)


def _by_responses(chat: Any, request: Mapping[str, Any]) -> bool:
    """Tell whether OpenAI's class *chat* asks for *request* by the Responses API."""
    return bool(chat._use_responses_api(dict(request)))  # noqa: SLF001 - it tells nobody


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


def chat_options(http: Http) -> dict[str, Any]:
    """Return what each class of langchain-openai is made with."""
    import openai
    from langchain_openai import ChatOpenAI

    options = {
        "timeout": http.timeout_s,
        "max_retries": 0,
        "stream_usage": True,  # off by default where base_url is set, and then streams report no tokens
        "http_async_client": http.client(openai.DefaultAsyncHttpxClient),
        "http_client": _unused_client(),
        "openai_proxy": None,  # not OPENAI_PROXY's, with which it refuses clients
    }
    if "stream_chunk_timeout" in ChatOpenAI.model_fields:  # since 1.2
        options["stream_chunk_timeout"] = None  # ours bounds the silence; theirs takes a task for each chunk
    if "http_socket_options" in ChatOpenAI.model_fields:  # since 1.2; else it warns of proxies, which are ours to ask
        options["http_socket_options"] = ()
    return options


@functools.cache
def _unused_client() -> Any:
    """Return the client for sync calls, which nobody makes: a real one would read all certificates for each model."""
    import openai

    return openai.DefaultHttpxClient(transport=cast("Any", _Nowhere()))


class _Nowhere:
    """A transport of httpx that sends nothing."""

    def handle_request(self, request: object) -> NoReturn:
        raise NotImplementedError("calls are async, on the I/O loop")

    def close(self) -> None:
        pass


def _build(deployment: Deployment, http: Http) -> BaseChatModel:
    from langchain_openai import ChatOpenAI
    from pydantic import SecretStr

    model = ChatOpenAI(
        model=deployment.model,
        api_key=SecretStr(deployment.secrets["openai_api_key"].reveal()),
        base_url=_base(deployment),
        **chat_options(http),
    )
    quick(model.root_async_client)
    return model


CHAT_OPENAI: Final = NativeModel(
    build=_build,
    package="langchain_openai",
    extra="openai",
    takes_openai_format=True,
    remembers=frozenset({"openai"}),
    remembers_own=True,
    # chat completions have no place for what the other API said
    remembers_in=_by_responses,
    parameters_in=lambda chat, request: _RESPONSES if _by_responses(chat, request) else None,
)
HISTORY: Final = History(
    marks=frozenset({"prompt_cache_breakpoint"}),
    file_urls=False,
    system_anywhere=True,
    takes_turns=False,
    user_last=False,
)


def _client(params: Mapping[str, Any], client: Any) -> Any:
    import openai

    sdk = openai.AsyncOpenAI(api_key=params["api_key"], base_url=params["api_base"], max_retries=0, http_client=client)
    return quick(sdk)


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
    parameters=lambda _: PARAMETERS,
    libraries=("openai",),
    aliases=("gpt", "chatgpt"),
)
