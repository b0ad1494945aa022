"""The OpenAI library's client, spared work that changes nothing of what is sent or answered.

Much of a call's CPU is that library's: it looks through parameters, joins the same address anew and builds an answer
field by field. What is replaced is looked for first, so that a version without it is left as it is.
"""

from __future__ import annotations

import functools
import types
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

C = TypeVar("C")

_OPTIONS: Final = frozenset({"timeout", "extra_headers", "extra_query"})  # of a call, and no body's
_PLAIN: Final = (bool, dict, float, int, list, str, tuple, type(None))
_ADDRESSES: Final = 16  # of one client; calls have one


def quick(client: C) -> C:
    """Return *client*, an `openai.AsyncOpenAI` or a class of its, made quicker in place."""
    own: Any = client
    own.chat.completions.create = _as_it_is(own.chat.completions)
    if hasattr(own, "_prepare_url"):
        own._prepare_url = functools.lru_cache(_ADDRESSES)(own._prepare_url)  # noqa: SLF001 - asks for the same each time
    if hasattr(own, "_process_response_data"):
        own._process_response_data = _read_whole(own._process_response_data)  # noqa: SLF001 - there is no public way in
    return client


def _as_it_is(completions: Any) -> Callable[..., Any]:
    """Return the `create` of *completions*, of a client, which sends what is plain data as it is.

    It would look through each parameter, type by type, for members that JSON has under another name. What LangChain
    and litellm send has none, and the search is up to a third of a call's CPU. The way past it is `extra_body`. Where
    somebody has put a function of theirs in the method's place, as Sentry and OpenTelemetry's instrumentation do, that
    gets the parameters by their names: it reads them.
    """
    from openai import NOT_GIVEN

    kind = type(completions)

    @functools.wraps(kind.create)
    def create_as_it_is(*, extra_body: Mapping[str, Any] | None = None, **params: Any) -> Any:
        create = kind.create  # of now: it may be replaced at any time
        if not _is_the_library_s(create):
            return create(completions, extra_body=extra_body, **params)
        body = {n: v for n, v in params.items() if n not in _OPTIONS and isinstance(v, _PLAIN)}
        if body.get("stream"):
            del body["stream"]  # it says what comes back, too
        others = {name: value for name, value in params.items() if name not in body}
        required = {name: NOT_GIVEN for name in ("messages", "model") if name in body}
        return create(completions, **required, **others, extra_body={**body, **(extra_body or {})})

    return create_as_it_is


def _is_the_library_s(function: Any) -> bool:
    """Tell whether *function* is OpenAI's own; one around it may have its name and module, and even its class."""
    return type(function) is types.FunctionType and str(function.__globals__.get("__name__")).startswith("openai.")


def _read_whole(process: Callable[..., Any]) -> Callable[..., Any]:
    """Return *process*, by which the library makes objects of answers, and which reads well-formed ones in one go.

    pydantic does that in Rust. The library takes them apart in Python, because it lets pass what has other types than
    it should: what pydantic refuses goes that way still. There, an end without a delta, which is how Azure's
    asynchronous filter ends a stream, gets an empty one: LangChain leaves out what has none.
    """
    from openai.types.chat import ChatCompletion, ChatCompletionChunk
    from pydantic import ValidationError

    def read_whole(*, data: Any, cast_to: Any, response: Any) -> Any:
        if cast_to is ChatCompletion or cast_to is ChatCompletionChunk:
            try:
                return cast_to.model_validate(data)
            except ValidationError:
                if cast_to is ChatCompletionChunk:
                    _give_delta(data)
        return process(data=data, cast_to=cast_to, response=response)

    return read_whole


def _give_delta(chunk: Any) -> None:
    """Give each choice of *chunk*, as it was sent, that says why it ends a delta, in place."""
    choices = chunk.get("choices") if isinstance(chunk, dict) else None
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and choice.get("finish_reason") and choice.get("delta") is None:
            choice["delta"] = {}
