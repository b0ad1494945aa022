"""What is changed in litellm for one provider or another, where it has no switch for it; each once per process.

A provider's spec names what it needs; a process that never uses the provider keeps litellm as it is.
"""

from __future__ import annotations

import functools
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from liverouter.google_tokens import TokenRequest
from liverouter.litellm_http import attempt_timeout_s

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


def apply_patches(names: Iterable[str]) -> None:
    """Apply the patches of *names*, those that are not yet."""
    for name in names:
        _apply(name)


@functools.cache
def _apply(name: str) -> None:
    PATCHES[name]()


def _azure_by_key() -> None:
    """Have Azure's client go by the key that it was given, within an attempt of ours.

    It prefers a token of the environment, and litellm makes one of a name and a password there.
    """
    import openai

    init = openai.AsyncAzureOpenAI.__init__

    def make(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        if attempt_timeout_s.get() is not None and kwargs.get("api_key"):
            self._azure_ad_token = None  # of AZURE_OPENAI_AD_TOKEN
            self._azure_ad_token_provider = None  # of AZURE_USERNAME and AZURE_PASSWORD

    openai.AsyncAzureOpenAI.__init__ = make  # type: ignore[method-assign]


def _gemini_ends() -> None:
    """Have litellm's Gemini streams say "finished" only where the provider did.

    litellm stamps every content chunk of theirs with a finish reason, so that a cut stream looks like a whole one.
    """
    from litellm.llms.vertex_ai.gemini.vertex_and_google_ai_studio_gemini import ModelResponseIterator

    parse = ModelResponseIterator.chunk_parser

    def chunk_parser(self: Any, chunk: dict[str, Any]) -> Any:
        response = parse(self, chunk)
        blocked = (chunk.get("promptFeedback") or {}).get("blockReason")
        if (
            response is not None
            and not blocked
            and not any(c.get("finishReason") for c in chunk.get("candidates") or ())
        ):
            for choice in response.choices:
                choice.finish_reason = None
        return response

    ModelResponseIterator.chunk_parser = chunk_parser


def _google_tokens() -> None:
    """Have litellm fetch Google's tokens within the attempt's timeout, and from where it was told."""
    from litellm.llms.vertex_ai.vertex_llm_base import VertexBase

    refresh_auth = VertexBase.refresh_auth

    def hurried(self: Any, credentials: Any) -> None:
        timeout_s = attempt_timeout_s.get()
        refresh_auth(self, credentials if timeout_s is None else _ShortTimeout(credentials, timeout_s))

    VertexBase.refresh_auth = hurried


class _ShortTimeout:
    """Google's credentials, of which litellm calls one method."""

    def __init__(self, credentials: Any, timeout_s: float) -> None:
        self._credentials, self._timeout_s = credentials, timeout_s

    def refresh(self, request: Callable[..., Any]) -> None:
        del request
        self._credentials.refresh(TokenRequest(self._timeout_s))


def _snowflake_stops() -> None:
    """Have litellm send `stop` to Claude at Snowflake under the name it has there."""
    from litellm.llms.snowflake.chat.transformation import SnowflakeConfig

    transform = SnowflakeConfig._transform_request_anthropic  # noqa: SLF001 - litellm has no switch for it

    def renaming(self: Any, model: str, messages: Any, optional_params: dict[str, Any], *others: Any) -> Any:
        if (stop := optional_params.pop("stop", None)) is not None:
            optional_params["stop_sequences"] = [stop] if isinstance(stop, str) else stop
        return transform(self, model, messages, optional_params, *others)

    SnowflakeConfig._transform_request_anthropic = renaming  # noqa: SLF001


PATCHES: Final[Mapping[str, Callable[[], None]]] = MappingProxyType(
    {
        "azure_by_key": _azure_by_key,
        "gemini_ends": _gemini_ends,
        "google_tokens": _google_tokens,
        "snowflake_stops": _snowflake_stops,
    }
)
