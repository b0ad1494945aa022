"""What is changed in litellm, where it has no switch for it: each for its reason, once per process. As of 1.106.

`COMMON` is applied when litellm is loaded. What one provider needs, its spec names: a process that never uses the
provider goes without. Most patches work only where `attempt_timeout_s` is set, which is within an attempt of ours: the
process's other calls of litellm stay as litellm made them. Importing this module imports litellm.
"""

from __future__ import annotations

import functools
import importlib
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import litellm
from litellm.llms.custom_httpx.aiohttp_transport import LiteLLMAiohttpTransport
from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler
from litellm.llms.openai.common_utils import BaseOpenAILLM

from liverouter.routing.google_tokens import TokenRequest
from liverouter.routing.guard import guarded
from liverouter.routing.litellm_http import attempt_timeout_s, without_netrc

OURS: Final = "liverouter"  # marks our deployments in litellm's model_info
_LONGEST_MASKED: Final = 4_000  # characters, of which 2,000 leave

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


def apply_patches(names: Iterable[str]) -> None:
    """Apply the patches of *names*, those that are not yet."""
    for name in names:
        _apply(name)


@functools.cache
def _apply(name: str) -> None:
    PATCHES[name]()


def _guard_clients() -> None:
    """Have each HTTP client that litellm makes for an attempt of ours admit answers as `guard` does.

    litellm's clients follow redirects, key and prompt included, and read what comes. Some are made deep inside:
    OpenAI's and Azure's, and those of models that it serves through another API than the one it was asked for.
    """
    create_client, get_async_http_client = AsyncHTTPHandler.create_client, BaseOpenAILLM._get_async_http_client  # noqa: SLF001 - litellm has no switch for it

    def create(self: Any, *args: Any, **kwargs: Any) -> Any:
        return _guarded(create_client(self, *args, **kwargs))

    def get(*args: Any, **kwargs: Any) -> Any:
        client = get_async_http_client(*args, **kwargs)
        return client if client is None or client is litellm.aclient_session else _guarded(client)

    AsyncHTTPHandler.create_client = create
    BaseOpenAILLM._get_async_http_client = staticmethod(get)  # noqa: SLF001


def _guarded(client: Any) -> Any:
    """Return *client*, guarded and without ~/.netrc where an attempt of ours makes it; else as it is."""
    if attempt_timeout_s.get() is None:
        return client
    transport = client._transport  # noqa: SLF001 - httpx has no public way in
    if isinstance(transport, LiteLLMAiohttpTransport):
        transport.get_valid_client_session = functools.partial(without_netrc, transport.get_valid_client_session)
    return guarded(client)


def _shorten_masking() -> None:
    """Have litellm mask the beginning of a text alone, within an attempt of ours.

    Its pattern takes the square of a text's length: 12 s for an error of 64 kB, in which no other call goes on. What
    leaves a call of ours is shorter than what it keeps, and masked by us.
    """
    try:
        redaction = importlib.import_module("litellm.litellm_core_utils.secret_redaction")
    except ImportError:  # a litellm that masks nothing
        return
    if (pattern := getattr(redaction, "_SECRET_RE", None)) is not None:
        redaction._SECRET_RE = _Shortened(pattern)  # type: ignore[attr-defined]  # noqa: SLF001


class _Shortened:
    """A pattern that replaces in the first characters of a text alone; litellm calls its `sub`."""

    def __init__(self, pattern: Any) -> None:
        self._pattern = pattern

    def sub(self, replacement: Any, text: str) -> str:
        kept = text if attempt_timeout_s.get() is None else text[:_LONGEST_MASKED]
        return str(self._pattern.sub(replacement, kept))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pattern, name)


def _stay_unlisted() -> None:
    """Keep our deployments out of litellm's process-wide price list, in which other Routers' go on being registered.

    An entry per deployment id would be left there by every key that was ever used, and writing it is most of a build.
    Prices and limits come from the model's own entry.
    """
    register = litellm.Router._register_deployment_pricing  # noqa: SLF001 - litellm has no switch for it

    def register_others(deployment: Any) -> None:
        if not deployment.model_info.get(OURS):
            register(deployment)

    litellm.Router._register_deployment_pricing = staticmethod(register_others)  # noqa: SLF001


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
    """Google's credentials, whose token is fetched within *timeout_s* seconds; litellm calls their `refresh`."""

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


COMMON: Final = ("guard_clients", "shorten_masking", "stay_unlisted")
PATCHES: Final[Mapping[str, Callable[[], None]]] = MappingProxyType(
    {
        "azure_by_key": _azure_by_key,
        "gemini_ends": _gemini_ends,
        "google_tokens": _google_tokens,
        "guard_clients": _guard_clients,
        "shorten_masking": _shorten_masking,
        "snowflake_stops": _snowflake_stops,
        "stay_unlisted": _stay_unlisted,
    }
)
