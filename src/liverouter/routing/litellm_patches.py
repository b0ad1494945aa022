"""What is changed in litellm, where it has no switch for it: each for its reason, once per process.

`COMMON` is applied when litellm is loaded. What one provider needs, its spec names: a process that never uses the
provider goes without. Most patches work only within an attempt of ours: the process's other calls of litellm stay as
litellm made them. Each says in which versions it was seen to be needed, and changes nothing where a litellm does not
have what it looks for; a litellm in which clients cannot be guarded is not used, as that is a matter of keys.
tests/unit/test_patches_needed.py asks the installed one, and says which patch can go. Importing this imports litellm.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NoReturn

import litellm
from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler
from litellm.llms.openai.common_utils import BaseOpenAILLM
from litellm.utils import CustomStreamWrapper, is_internal_call
from openai import AsyncStream

from liverouter.routing.clock import clock_of_call
from liverouter.routing.google_tokens import ShortTimeout
from liverouter.routing.guard import guarded

_LONGEST_MASKED: Final = 4_000  # characters, of which 2,000 leave
_LITELLM_CACHE: Final = "cache"  # what litellm's Vertex AI module puts there as it is imported; no log row comes of it
_WATCHERS: Final = (
    *("callbacks", "success_callback", "failure_callback"),
    *("_async_success_callback", "_async_failure_callback"),
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


def http_client(timeout: float) -> Any:
    """Return a new HTTP client as litellm makes them, over aiohttp; *timeout* in seconds."""
    return _without_netrc(AsyncHTTPHandler(timeout=timeout).client)


def without_resend(handler: Any) -> Any:
    """Return *handler*, litellm's HTTP client, which no longer answers a failed connection by a second request.

    It would go by a client of its own that nothing guards, and double the tries. Seen in 1.106 to 1.110.
    """

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise sys.exception() or RuntimeError("litellm resends without an error")

    handler.create_client = refuse
    return handler


def log_if_watched(request: Mapping[str, Any]) -> None:
    """Have litellm make no log row of *request*, and of what else this context asks for, where nobody wants one.

    Another Router of the process wants those of its own calls only. It saves an eighth of a call's CPU, and litellm's
    worker for them belongs to one event loop at a time: where two loops of a process make calls, it fails behind them.
    """
    watchers = (watcher for name in _WATCHERS for watcher in (*getattr(litellm, name, ()), *(request.get(name) or ())))
    is_watched = bool(litellm.max_budget) or any(
        watcher != _LITELLM_CACHE and not isinstance(getattr(watcher, "__self__", None), litellm.Router)
        for watcher in watchers
    )
    is_internal_call.set(not is_watched)


def keep_caches(router: litellm.Router) -> None:
    """Have *router* cache by itself what litellm's class caches for all: up to 64 former ones stay by that."""
    for name, member in vars(litellm.Router).items():
        if hasattr(member, "cache_clear"):
            own = functools.lru_cache(member.cache_info().maxsize)(functools.partial(member.__wrapped__, router))
            setattr(router, name, own)


async def close_clients() -> None:
    """On the I/O loop, at its end: close what litellm cached for it by itself, so that no socket is left behind."""
    cache = litellm.in_memory_llm_clients_cache
    of_this_loop = cache.update_cache_key_with_event_loop("")  # how keys end: an id in 1.106, later a number
    for key in [key for key in cache.cache_dict if key.endswith(of_this_loop)]:
        client = cache.cache_dict.pop(key)
        cache.ttl_dict.pop(key, None)
        close = getattr(client, "aclose", None) or getattr(client, "close", None)
        if close is not None and inspect.isawaitable(closing := close()):
            await closing


def apply_patches(names: Iterable[str]) -> None:
    """Apply the patches of *names*, those that are not yet."""
    for name in names:
        _apply(name)


@functools.cache
def _apply(name: str) -> None:
    PATCHES[name]()


def _found(module: str, name: str = "") -> Any:
    """Return litellm's *module*, or *name* of it; None where the installed version has none."""
    try:
        found = importlib.import_module(module)
    except ImportError:
        return None
    return getattr(found, name, None) if name else found


def _guard_clients() -> None:
    """Have each HTTP client that litellm makes for an attempt of ours admit answers as `guard` does.

    litellm's clients follow redirects, key and prompt included, and read what comes. A chat model brings its own, but
    what litellm serves through another API than the one it was asked for, it asks by one that it makes deep inside.
    Seen in 1.106 to 1.110.
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
    if clock_of_call() is None:
        return client
    return guarded(_without_netrc(client))


def _without_netrc(client: Any) -> Any:
    """Return *client*, which sends nothing of ~/.netrc: AIOHTTP_TRUST_ENV has aiohttp do that.

    The proxies, for which people set it, litellm looks up by itself.
    """
    if (session_of := getattr(client._transport, "get_valid_client_session", None)) is not None:  # noqa: SLF001 - httpx has no public way in
        client._transport.get_valid_client_session = functools.partial(_session, session_of)  # noqa: SLF001
    return client


def _session(session_of: Callable[[], Any]) -> Any:
    """Return aiohttp's session that *session_of* gives, without ~/.netrc."""
    session = session_of()
    session._trust_env = False  # noqa: SLF001 - aiohttp takes it when a session is made, and litellm makes it
    return session


def _shorten_masking() -> None:
    """Have litellm mask the beginning of a text alone, within an attempt of ours.

    Its pattern takes the square of a text's length: 12 s for an error of 64 kB, in which no other call goes on. What
    leaves a call of ours is shorter than what it keeps, and masked by us. Seen in 1.106 to 1.110.
    """
    redaction: Any = _found("litellm.litellm_core_utils.secret_redaction")
    if (pattern := getattr(redaction, "_SECRET_RE", None)) is not None:
        redaction._SECRET_RE = _Shortened(lambda: pattern)  # noqa: SLF001 - litellm has no switch for it


class _Later:
    """Has the members of what *load* returns, which is loaded for the first of them."""

    def __init__(self, load: Callable[[], Any]) -> None:
        self._load = load

    def __getattr__(self, name: str) -> Any:
        return getattr(self._load(), name)


class _Shortened(_Later):
    """A pattern that replaces in the first characters of a text alone; litellm calls its `sub`."""

    def sub(self, replacement: Any, text: str) -> str:
        kept = text if clock_of_call() is None else text[:_LONGEST_MASKED]
        return str(self._load().sub(replacement, kept))


def _honest_ends() -> None:
    """Have litellm's streams end as the provider's did, also where that was cut off: `attempt` says what that means.

    Seen in 1.106 to 1.108, which make up a reason, and in 1.110, which raises an error, whatever `check_streams` says.
    """
    wrapper: Any = CustomStreamWrapper
    finish = getattr(wrapper, "finish_reason_handler", None)
    fails = getattr(wrapper, "_should_fail_on_clean_eof", None)
    if finish is not None:

        def honest(self: Any) -> Any:
            chunk = finish(self)
            if clock_of_call() is not None and not (self.received_finish_reason or self.intermittent_finish_reason):
                chunk.choices[0].finish_reason = None
            return chunk

        wrapper.finish_reason_handler = honest
    if fails is not None:
        wrapper._should_fail_on_clean_eof = lambda self: clock_of_call() is None and fails(self)  # noqa: SLF001


def _equal_chunks() -> None:
    """Have litellm's streams go on where a hundred chunks are equal: a line of dashes, zeros, blanks are healthy.

    litellm takes that for a model that repeats itself. Seen in 1.106 to 1.110.
    """
    wrapper: Any = CustomStreamWrapper
    if (refuse := getattr(wrapper, "raise_on_model_repetition", None)) is None:
        return

    def refuse_strangers(self: Any) -> None:
        if clock_of_call() is None:
            refuse(self)

    wrapper.raise_on_model_repetition = refuse_strangers


def _one_pass() -> None:
    """Have litellm's streams read the provider's by one iterator, within an attempt of ours.

    It asks for a new one for each chunk. OpenAI's library makes a generator of each, and the event loop a task to close
    that: a twentieth of a stream's CPU. Seen in 1.106 to 1.110.
    """
    wrapper: Any = CustomStreamWrapper
    begin = wrapper.__init__

    def begin_once(self: Any, completion_stream: Any, *args: Any, **kwargs: Any) -> None:
        if clock_of_call() is not None and isinstance(completion_stream, AsyncStream):
            completion_stream = aiter(completion_stream)
        begin(self, completion_stream, *args, **kwargs)

    wrapper.__init__ = begin_once


def _gemini_ends() -> None:
    """Have litellm's Gemini streams say "finished" only where the provider did.

    litellm stamps every content chunk of theirs with a finish reason, so that a cut stream looks like a whole one. Seen
    in 1.106 to 1.110.
    """
    gemini = "litellm.llms.vertex_ai.gemini.vertex_and_google_ai_studio_gemini"
    iterator: Any = _found(gemini, "ModelResponseIterator")
    if (parse := getattr(iterator, "chunk_parser", None)) is None:
        return

    def chunk_parser(self: Any, chunk: dict[str, Any]) -> Any:
        response = parse(self, chunk)
        blocked = (chunk.get("promptFeedback") or {}).get("blockReason")
        ended = any(candidate.get("finishReason") for candidate in chunk.get("candidates") or ())
        if clock_of_call() is not None and response is not None and not (blocked or ended):
            for choice in response.choices:
                choice.finish_reason = None
        return response

    iterator.chunk_parser = chunk_parser


def _google_tokens() -> None:
    """Have litellm fetch Google's tokens within the attempt's timeout, and from where it was told.

    It asks by google-auth's own transport, which waits for two minutes. Seen in 1.106 to 1.110.
    """
    base: Any = _found("litellm.llms.vertex_ai.vertex_llm_base", "VertexBase")
    if (refresh_auth := getattr(base, "refresh_auth", None)) is None:
        return

    def hurried(self: Any, credentials: Any) -> None:
        clock = clock_of_call()
        refresh_auth(self, credentials if clock is None else ShortTimeout(credentials, clock.timeout_s))

    base.refresh_auth = hurried


def _snowflake_stops() -> None:
    """Have litellm send `stop` to Claude at Snowflake under the name it has there. Seen in 1.106 to 1.110."""
    config: Any = _found("litellm.llms.snowflake.chat.transformation", "SnowflakeConfig")
    if (transform := getattr(config, "_transform_request_anthropic", None)) is None:
        return

    def renaming(self: Any, model: str, messages: Any, optional_params: dict[str, Any], *others: Any) -> Any:
        if (stop := optional_params.pop("stop", None)) is not None:
            optional_params["stop_sequences"] = [stop] if isinstance(stop, str) else stop
        return transform(self, model, messages, optional_params, *others)

    config._transform_request_anthropic = renaming  # noqa: SLF001 - litellm has no switch for it


def _costs() -> None:
    """Have litellm work out what an answer costs where somebody reads that, within an attempt of ours.

    Who calls a chat model is told by us, who calls the Router or logs by litellm. It takes an eighth of a call's CPU.
    Of a stream that is yet to come nobody is told: litellm counts the tokens of the prompt for that, by a tokenizer
    that takes a second to load, and 109 MB. Seen in 1.106 to 1.110, of streams in 1.110.
    """
    logging: Any = _found("litellm.litellm_core_utils.litellm_logging", "Logging")
    if (cost_of := getattr(logging, "response_cost_calculator", None)) is None:
        return

    def calculate(self: Any, result: Any, *args: Any, **kwargs: Any) -> Any:
        clock = clock_of_call()
        if clock is not None:
            is_read = clock.reads_cost or not is_internal_call.get()  # see `log_if_watched`
            if isinstance(result, CustomStreamWrapper) or not is_read:
                return None
        return cost_of(self, result, *args, **kwargs)

    logging.response_cost_calculator = calculate


def _needless_imports() -> None:
    """Have litellm ask FastAPI and OpenTelemetry what only they know where somebody has imported them.

    It imports FastAPI at the first error, to see that this is none of FastAPI's, and all that it logs to OpenTelemetry
    by at the first call, to see that nobody has switched that on: 8 MB, and a twentieth of a start. Seen in 1.106 to
    1.110.
    """
    errors: Any = _found("litellm.proxy.guardrails.exception_utils")
    if (is_fastapis := getattr(errors, "is_fastapi_http_exception", None)) is not None:
        errors.is_fastapi_http_exception = lambda *of: "fastapi.exceptions" in sys.modules and is_fastapis(*of)
    traces: Any = _found("litellm.integrations.otel.runtime")
    if (loaded := getattr(traces, "_otel_runtime", None)) is not None:
        traces._otel_runtime = lambda: loaded() if "litellm.integrations.otel.logger" in sys.modules else None  # noqa: SLF001 - litellm has no switch for it


def _needless_tokenizer() -> None:
    """Have litellm load its tokenizer where it counts by it, within an attempt of ours.

    It hands one to each call but OpenAI's, for answers that do not tell their tokens: 40 MB. Seen in 1.106 to 1.110.
    """
    main: Any = _found("litellm.main")
    if (load := getattr(main, "_get_encoding", None)) is not None:
        later = _Later(load)
        main._get_encoding = lambda: later if clock_of_call() is not None else load()  # noqa: SLF001 - litellm has no switch for it


_COMMON: Final = (
    *(_costs, _equal_chunks, _guard_clients, _honest_ends),
    *(_needless_imports, _needless_tokenizer, _one_pass, _shorten_masking),
)
_ONE_PROVIDERS: Final = (_gemini_ends, _google_tokens, _snowflake_stops)
COMMON: Final = tuple(patch.__name__[1:] for patch in _COMMON)
PATCHES: Final[Mapping[str, Callable[[], None]]] = MappingProxyType(
    {patch.__name__[1:]: patch for patch in (*_COMMON, *_ONE_PROVIDERS)}
)
