"""From a request to bytes on the wire: admit it as the provider would, then answer or fail as scripted."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING

from liverouter.testing.standin.answers import compose
from liverouter.testing.standin.failures import Failure, Fault
from liverouter.testing.standin.recorder import RecordedRequest, Violation
from liverouter.testing.standin.schemas import minimal_object
from liverouter.testing.standin.wire import (
    Answer,
    Ask,
    ChatEndpoint,
    Frames,
    HttpReply,
    Incoming,
    JsonObject,
    RejectedError,
    Reply,
    SideEndpoint,
    ToolCall,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from liverouter.testing.standin.connection import Connection
    from liverouter.testing.standin.recorder import Recorder
    from liverouter.testing.standin.script import Plan, Script
    from liverouter.testing.standin.wire import Endpoint, Provider

_RETRY_AFTER_S = 2.0  # of "429-retry-after" where the script names none
_BROKEN_JSON = b'{"id": "standin-1", "object": "chat'
_BROKEN_FRAME = b"data: " + _BROKEN_JSON + b"\n\n"
_WORDED_AS = {Failure.ERROR_EVENT: Failure.SERVER_ERROR, Failure.RATE_LIMIT_RETRY_AFTER: Failure.RATE_LIMIT}
_PAGE = b"<!doctype html><html><head><title>Maintenance</title></head><body><h1>Back soon</h1></body></html>\n"


@dataclass(frozen=True, slots=True)
class _Chat:
    """One admitted chat request."""

    endpoint: ChatEndpoint
    ask: Ask
    plan: Plan
    serial: int

    @property
    def fault(self) -> Fault | None:
        return self.plan.fault


class Responder:
    """Serves one stand-in's requests."""

    def __init__(
        self,
        *,
        provider: Provider,
        script: Script,
        recorder: Recorder,
        accept_keys: Collection[str] | None,
    ) -> None:
        """Answer as *provider*, doing what *script* says; *accept_keys* None accepts any credential."""
        self._provider = provider
        self._script = script
        self._recorder = recorder
        self._accept_keys = None if accept_keys is None else frozenset(accept_keys)

    async def __call__(self, request: Incoming, connection: Connection) -> None:
        """Answer one request."""
        number = self._recorder.next_number()
        endpoint = self._provider.find(request)
        body = _parsed(request.content)
        self._record(number, request, endpoint, body, connection.number)
        try:
            admitted = self._admit(number, request, endpoint, body)
        except RejectedError as rejected:
            refusal = self._provider.error(rejected, endpoint)
            self._recorder.violated(Violation(number, refusal.status, rejected.message))
            connection.send(refusal)
            return
        if isinstance(admitted, HttpReply):
            connection.send(admitted)
        else:
            await self._play(admitted, connection)

    def _record(
        self, number: int, request: Incoming, endpoint: Endpoint | None, body: JsonObject | None, connection: int
    ) -> None:
        self._recorder.add(
            RecordedRequest(
                number=number,
                kind="unknown" if endpoint is None else "chat" if isinstance(endpoint, ChatEndpoint) else endpoint.kind,
                method=request.method,
                path=request.path,
                query=request.query,
                headers=request.headers,
                body=body,
                arrived_at=time.monotonic(),
                connection_id=connection,
            )
        )

    def _admit(
        self, number: int, request: Incoming, endpoint: Endpoint | None, body: JsonObject | None
    ) -> _Chat | HttpReply:
        """Return the chat to play, or the whole answer of a path that serves something else."""
        if endpoint is None:
            raise RejectedError(Failure.NOT_FOUND, f"{request.method} {request.path}", code="path")
        if isinstance(endpoint, ChatEndpoint) or endpoint.needs_key:
            self._check_credential(self._provider.credential(request))
        match endpoint:
            case SideEndpoint():
                return endpoint.serve(request)
            case ChatEndpoint():
                if body is None:
                    raise RejectedError(Failure.BAD_REQUEST, "We could not parse the JSON body of your request.")
                ask = endpoint.wire.parse(body, model=endpoint.model, stream=endpoint.stream)
                return _Chat(endpoint, ask, self._script.plan(), number)

    def _check_credential(self, credential: str | None) -> None:
        if not credential:
            raise RejectedError(Failure.UNAUTHORIZED, "no credential was sent", code="missing")
        accepted = self._accept_keys is None or credential in self._accept_keys
        if not accepted and not self._provider.vouches_for(credential):
            raise RejectedError(Failure.UNAUTHORIZED, "the credential is not accepted", code="wrong")

    # playing

    async def _play(self, chat: _Chat, connection: Connection) -> None:
        """Wait as scripted, then fail or answer; a stream that fails after some chunks does so in `_stream`."""
        plan = chat.plan
        if plan.gate is not None and not (chat.ask.stream and plan.gate.after_chunks):
            await plan.gate.enter()
        if plan.delay_s:
            await asyncio.sleep(plan.delay_s)
        fault = chat.fault
        if (
            fault is not None
            and not (chat.ask.stream and fault.after_chunks)
            and await self._failed_whole(chat, fault, connection)
        ):
            return
        reply = self._reply(chat)
        answer = compose(chat.ask, reply, serial=chat.serial)
        if chat.ask.stream:
            await self._stream(chat, answer, connection)
        else:
            await self._whole(chat, answer, connection)

    async def _failed_whole(self, chat: _Chat, fault: Fault, connection: Connection) -> bool:
        """Play a failure that leaves nothing of the answer; return False, and send nothing, for any other."""
        if (reply := self._instead(chat, fault)) is not None:
            connection.send(reply)
            return True
        match fault.kind:
            case Failure.HANG | Failure.BLACKHOLE:  # the latter: on a connection that was open before
                await _for_ever()
            case Failure.STALL:
                if chat.ask.stream:
                    connection.start_stream(chat.endpoint.wire.stream_type)
                await _for_ever()
            case Failure.RESET | Failure.REFUSED:  # the latter: on a connection that was open before
                connection.reset()
            case _:
                return False
        return True

    def _instead(self, chat: _Chat, fault: Fault) -> HttpReply | None:
        """Return what the provider sends instead of an answer; None where it sends nothing, or a part of one."""
        streams = chat.ask.stream
        content_type = chat.endpoint.wire.stream_type if streams else "application/json"
        match fault.kind:
            case Failure.HTML:
                return HttpReply(HTTPStatus.OK, _PAGE, "text/html; charset=utf-8")
            case Failure.EMPTY:
                return HttpReply(HTTPStatus.OK, b"", content_type)
            case Failure.MALFORMED:
                return HttpReply(HTTPStatus.OK, _BROKEN_FRAME if streams else _BROKEN_JSON, content_type)
            case Failure.ERROR_EVENT if streams:
                return HttpReply(HTTPStatus.OK, self._error_frame(chat, fault), content_type)
            case kind if kind.is_http_error or kind is Failure.ERROR_EVENT:
                return self._error(chat, fault)
            case _:
                return None

    def _error(self, chat: _Chat, fault: Fault) -> HttpReply:
        """Return the provider's HTTP error for *fault*, with Retry-After where the script or the failure has one."""
        kind = _WORDED_AS.get(fault.kind, fault.kind)
        reply = self._provider.error(self._provider.scripted(kind, chat.endpoint, chat.ask), chat.endpoint)
        seconds = fault.retry_after_s
        if seconds is None and fault.kind is Failure.RATE_LIMIT_RETRY_AFTER:
            seconds = _RETRY_AFTER_S
        if seconds is None:
            return reply
        return replace(reply, headers=(*reply.headers, ("Retry-After", f"{seconds:g}")))

    def _error_frame(self, chat: _Chat, fault: Fault) -> bytes:
        return chat.endpoint.wire.error_frame(self._error(chat, fault))

    def _reply(self, chat: _Chat) -> Reply:
        """Take the next reply; a refusal stands in its place, and a call to the first tool where one is to be cut."""
        reply = self._script.reply(chat.ask)
        match chat.fault:
            case Fault(kind=Failure.REFUSAL, after_chunks=0):
                return Reply(finish="refusal")
            case Fault(kind=Failure.EOF_IN_TOOL) if chat.ask.tools and not reply.tool_calls:
                tool = chat.ask.tools[0]
                return Reply(tool_calls=(ToolCall(tool.name, minimal_object(tool.schema, chat.ask.user_text)),))
            case _:
                return reply

    async def _whole(self, chat: _Chat, answer: Answer, connection: Connection) -> None:
        """Send *answer* as one body; failures that end a stream early cut it in half."""
        content = json.dumps(chat.endpoint.wire.body(answer)).encode()
        match chat.fault:
            case Fault(kind=Failure.EOF | Failure.EOF_IN_TOOL | Failure.PREAMBLE):
                connection.send_cut(HttpReply(HTTPStatus.OK, content))
                return
            case Fault(kind=Failure.SLOW, chunk_delay_s=seconds):
                await asyncio.sleep(seconds * len(chat.endpoint.wire.frames(answer).chunks))
        connection.send(HttpReply(HTTPStatus.OK, content))

    async def _stream(self, chat: _Chat, answer: Answer, connection: Connection) -> None:
        """Send *answer* as a stream: the chunks that arrive, each delayed and held as scripted, then its end."""
        wire, fault, gate = chat.endpoint.wire, chat.fault, chat.plan.gate
        frames = wire.frames(answer)
        chunks = _arriving(frames, fault, splits_arguments=wire.splits_arguments)
        delay_s = fault.chunk_delay_s if fault is not None and fault.kind is Failure.SLOW else chat.plan.chunk_delay_s
        hold_after = min(gate.after_chunks, len(chunks)) if gate is not None and gate.after_chunks else None
        connection.start_stream(wire.stream_type)
        connection.send_chunk(frames.opening)
        for sent, chunk in enumerate(chunks):
            if gate is not None and sent == hold_after:
                await gate.enter()
            await asyncio.sleep(delay_s)  # with 0 too: a client that left is noticed here
            connection.send_chunk(chunk)
        if gate is not None and len(chunks) == hold_after:
            await gate.enter()
        await self._finish(chat, frames, connection)

    async def _finish(self, chat: _Chat, frames: Frames, connection: Connection) -> None:
        """End a stream after its last chunk, properly or as its fault does."""
        fault = chat.fault
        match fault.kind if fault is not None else None:
            case Failure.HANG | Failure.STALL:
                await _for_ever()
            case Failure.RESET:
                connection.reset()
                return
            case Failure.EOF | Failure.EOF_IN_TOOL | Failure.PREAMBLE:
                pass
            case Failure.MALFORMED:
                connection.send_chunk(_BROKEN_FRAME)
            case Failure.REFUSAL:
                refused = compose(chat.ask, Reply(finish="refusal"), serial=chat.serial)
                connection.send_chunk(chat.endpoint.wire.frames(refused).closing)
            case kind if fault is not None and kind is not None and (kind.is_http_error or kind is Failure.ERROR_EVENT):
                connection.send_chunk(self._error_frame(chat, fault))
            case _:
                connection.send_chunk(frames.closing)
                await asyncio.sleep(chat.plan.chunk_delay_s)
        connection.end_stream()


def _arriving(frames: Frames, fault: Fault | None, *, splits_arguments: bool) -> tuple[bytes, ...]:
    """Return the chunks that reach the client; inside a tool call the last one is left out or cut in half."""
    match fault:
        case None | Fault(kind=Failure.SLOW):
            return frames.chunks
        case Fault(kind=Failure.EOF_IN_TOOL) if splits_arguments:
            return frames.chunks[:-1]
        case Fault(kind=Failure.EOF_IN_TOOL):
            *whole, last = frames.chunks
            return (*whole, last[: len(last) // 2])
        case Fault(after_chunks=count):
            return frames.chunks[:count]


def _parsed(content: bytes) -> JsonObject | None:
    """Return the JSON object in *content*, None where there is none."""
    try:
        body = json.loads(content)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


async def _for_ever() -> None:
    """Wait until the client leaves or the stand-in stops, which cancels the request's task."""
    await asyncio.get_running_loop().create_future()
