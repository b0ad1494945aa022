"""One question to a model that this process serves, or to one of its deployments alone; whole, or as it comes."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any, Final

from liverouter.chat.health import in_words
from liverouter.chat.source import OneGeneration
from liverouter.daemon.models import Answer
from liverouter.daemon.problem_details import ApiError, from_error
from liverouter.daemon.sse import encode
from liverouter.errors import LiveRouterError
from liverouter.secrecy.redaction import mask

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from liverouter.chat.model import LiveChatModel
    from liverouter.daemon.context import Context
    from liverouter.daemon.models import TryBody

    _Events = asyncio.Queue[bytes | LiveRouterError | None]  # None: there are no more

_LIMIT_S: Final = 180.0  # for all attempts of one call
_running: Final[set[asyncio.Task[None]]] = set()  # else they could be collected in the middle


async def answered(context: Context, body: TryBody) -> Answer:
    """Return the answer to *body*.

    Raises:
        LiveRouterError: nothing is live, there is no such deployment (404), or none answered (502).
    """
    model = _model(context, body)
    async with context.trying:
        started, limit = time.monotonic(), asyncio.timeout(_LIMIT_S)
        try:
            async with limit:
                said = await model.ainvoke(body.prompt)
        except Exception as exc:  # noqa: BLE001 - whatever a provider's library raises is the finding
            raise _error(exc, is_late=limit.expired()) from None
    return _answer(said.text, started, said.response_metadata)


async def streamed(context: Context, body: TryBody) -> AsyncIterator[bytes]:
    """Return the answer to *body* as events, the first of which has come: text, then answer, or error.

    Raises:
        LiveRouterError: as of `answered`, where that is known before any text.
    """
    events: _Events = asyncio.Queue()
    # A task of its own: the request's ends before the stream does, and a timeout belongs to the task that it began in.
    task = asyncio.create_task(_pump(context, body, _model(context, body), events), name="try")
    _running.add(task)
    task.add_done_callback(_running.discard)
    try:
        first = await events.get()
    except asyncio.CancelledError:
        task.cancel()
        raise
    if isinstance(first, LiveRouterError):
        raise first
    return _told(first, events, task)


async def _told(first: bytes | None, events: _Events, task: asyncio.Task[None]) -> AsyncIterator[bytes]:
    """Yield *first*, then what comes until None; whoever hears no more ends *task*, which asks."""
    event: bytes | LiveRouterError | None = first
    try:
        while event is not None:
            yield event if isinstance(event, bytes) else encode("error", json.loads(bytes(from_error(event).body)))
            event = await events.get()
    finally:
        task.cancel()


async def _pump(context: Context, body: TryBody, model: LiveChatModel, events: _Events) -> None:
    """Ask *model* and put what it says into *events*: texts, then the answer or the error, and None at the end."""
    limit = asyncio.timeout(_LIMIT_S)
    try:
        async with context.trying, limit:
            started, text, metadata = time.monotonic(), "", dict[str, Any]()
            async for chunk in model.astream(body.prompt):
                text += chunk.text
                metadata |= chunk.response_metadata
                if chunk.text:
                    events.put_nowait(encode("text", {"text": chunk.text}))
            events.put_nowait(encode("answer", _answer(text, started, metadata).model_dump(mode="json")))
    except Exception as exc:  # noqa: BLE001 - whatever a provider's library raises is the finding
        events.put_nowait(_error(exc, is_late=limit.expired()))
    finally:
        events.put_nowait(None)


def _model(context: Context, body: TryBody) -> LiveChatModel:
    """Return what *body* is asked of: the generation in force, as its name sees it.

    Raises:
        NotReadyError: there is none; at once, and not after the ready timeout.
        ApiError: the name has no such deployment here (404).
    """
    from liverouter.chat.model import LiveChatModel

    generation = context.live.wait_ready(0).named(body.name)
    if body.deployment_id is not None:
        deployment = next((d for d in generation.deployments if d.id == body.deployment_id), None)
        if deployment is None:
            message = f"'{generation.name}' has no such deployment here"
            hint = "GET /api/status lists those that this process serves with"
            raise ApiError(404, message, code="LR607", where="body.deployment_id", hint=hint)
        generation = generation.alone(deployment)
    live = context.live
    return LiveChatModel(source=OneGeneration(live.io, live.usage, generation), cache=False)


def _answer(text: str, started: float, metadata: dict[str, Any]) -> Answer:
    """Return *text*, asked for at *started* (monotonic seconds), with what *metadata* of the message says of it."""
    return Answer(answer=text, duration_ms=(time.monotonic() - started) * 1000, **metadata["liverouter"])


def _error(exc: Exception, *, is_late: bool) -> LiveRouterError:
    """Return *exc* as an answer: 502 for what a provider's library raised, without a secret."""
    if isinstance(exc, LiveRouterError):
        return exc
    message = f"no answer within {_LIMIT_S:g} s" if is_late else mask(f"{in_words(exc)}: {exc}".removesuffix(": "))
    hint = "Check the config: it calls each deployment once and says what it answers"
    return ApiError(502, message, code="LR302", where="provider", hint=hint)
