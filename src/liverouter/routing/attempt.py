"""One attempt: a request to one deployment's chat model, up to an answer that is one, or to a typed failure.

A provider may call a success what answers nothing, and a library may take for the end of a stream where it was cut off.
So an answer must have content, or a reason to have none, and a stream is read up to its first content before anybody
sees a piece of it: until then another deployment can be asked. What is wrong after that is raised to the caller.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

from liverouter.routing.answer_errors import (
    BrokenCallError,
    CutStreamError,
    FailedAnswerError,
    RefusedError,
    SilentError,
    UnreachedError,
    UnsentError,
    hollow,
)
from liverouter.routing.causes import blame, is_unsendable, root_of
from liverouter.routing.clock import clock_for
from liverouter.routing.tool_calls import Arguments, broken_call
from liverouter.secrecy.redaction import brief

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence

    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatGenerationChunk, ChatResult

    from liverouter.revision import Deployment

_MARKERS: Final = ("finish_reason", "stop_reason")
_TELLS: Final = frozenset({*_MARKERS, "object"})
# Ends of an answer that the caller is told of.
_NO_ROOM: Final = frozenset({"length", "max_output_tokens", "max_tokens", "model_context_window_exceeded"})
_STOPPED: Final = frozenset({"completed", "stop", "stop_sequence", "end_turn"})
_STOPS: Final = ("stop", "stop_sequences")  # parameters by which the caller ends an answer
_AT_ONCE: Final = 100  # pieces without content that are read before other calls get their turn
_TOOLS: Final = ("tool_call_chunks", "tool_calls", "invalid_tool_calls")
_SAYS_SOMETHING: Final = ("function_call", "tool_calls", "reasoning_content", "thinking_blocks", "audio", "images")


class Attempt:
    """One deployment's turn in one call. Used on one event loop, for one request.

    Attributes:
        clock: what bounds it.
    """

    def __init__(self, chat: BaseChatModel, deployment: Deployment, *, timeout_s: float, strict: bool) -> None:
        """Prepare; nothing is sent.

        Args:
            chat: asks *deployment*.
            deployment: named in errors; its provider's own headers go with each request.
            timeout_s: seconds to the first content, and between two; a stream's first may have less, by *deployment*.
            strict: a stream without its finish marker is an error, also after content.
        """
        self._chat, self._identifier = chat, deployment.id
        self._timeout_s, self._strict = timeout_s, strict
        self._first_s = deployment.first_token_timeout_s
        self.clock = clock_for(deployment, timeout_s)

    async def generate(self, messages: list[BaseMessage], params: Mapping[str, Any]) -> ChatResult:
        """Return the whole answer.

        Raises:
            Exception: the library's error, or that nothing came in time, or nothing at all.
        """
        try:
            result = await self.clock.wait(self._chat._agenerate(messages, **params))  # noqa: SLF001 - one trace run
        except TimeoutError as exc:
            raise SilentError(self._identifier, self._timeout_s) from exc
        except Exception as exc:
            self._blame(exc)
            raise
        finally:
            await self.clock.close()
        generations = _with_ends(result)
        if not any(_has_content(generation.message) for generation in generations):
            first = generations[0] if generations else None
            refusal = ("" if first is None else _refusal(first.message)) or _blocked(result.llm_output)
            finish, message = ("", None) if first is None else (finish_of(first), first.message)
            self._refuse_hollow(finish, refusal, message, may_stop=any(params.get(name) for name in _STOPS))
        for generation in generations:
            self._refuse_broken(finish_of(generation), broken_call(generation.message))
        return result

    async def open(
        self, messages: list[BaseMessage], params: Mapping[str, Any]
    ) -> AsyncGenerator[ChatGenerationChunk, None]:
        """Return the answer as a stream that has begun to say something, or has ended for a reason that needs nothing.

        Raises:
            Exception: the library's error, or that nothing came in time, or that the stream was empty, cut or refused.
        """
        self.clock.hurry(self._first_s)
        source = self._chat._astream(messages, **params)  # noqa: SLF001 - one trace run
        held: list[ChatGenerationChunk] = []
        finish = refusal = ""
        try:
            async for chunk in self._bounded(source, begun=False):
                held.append(chunk)
                finish = finish or finish_of(chunk)
                if _has_content(chunk.message):
                    self.clock.heard()
                    break
                refusal += _refusal(chunk.message)
                if not len(held) % _AT_ONCE:
                    await asyncio.sleep(0)  # pieces that are all there already hold up no other call
            else:
                self._refuse_failed()
                message = held[-1].message if held else None
                self._refuse_hollow(finish, refusal, message, may_stop=any(params.get(name) for name in _STOPS))
        except BaseException:  # cancellation too: the provider's connection must go
            await self._release(source)
            raise
        return self._rest(held, source, finish)

    async def _rest(
        self, held: Sequence[ChatGenerationChunk], source: Any, finish: str
    ) -> AsyncGenerator[ChatGenerationChunk, None]:
        """Yield what was *held* and what follows; *finish* is why it ended, if that was told already.

        Raises:
            Exception: the library's error, or that nothing more came in time, or that the stream was cut, or calls a
                tool with half of its arguments.
        """
        arguments: Arguments | None = None
        try:
            for chunk in held:
                if chunk.message.tool_call_chunks:  # type: ignore[attr-defined]  # an AIMessageChunk
                    arguments = arguments or Arguments()
                    arguments.add(chunk.message)
                yield chunk
            async for chunk in self._bounded(source, begun=True):
                ended = "" if finish else finish_of(chunk)
                finish = finish or ended
                if chunk.message.tool_call_chunks:
                    arguments = arguments or Arguments()
                    arguments.add(chunk.message)
                if ended or _has_content(chunk.message):
                    self.clock.heard()
                yield chunk
            self._refuse_failed()
            if self._strict and not finish:
                raise CutStreamError(self._identifier)
            if arguments is not None:
                self._refuse_broken(finish, arguments.broken())
        finally:
            await self._release(source)

    async def _bounded(self, source: AsyncIterator[Any], *, begun: bool) -> AsyncGenerator[Any, None]:
        """Yield what *source* does, with no longer silence than the clock allows."""
        wait = self.clock.wait
        try:
            while (chunk := await wait(anext(source, None))) is not None:
                yield chunk
                self.clock.check()
        except TimeoutError as exc:
            first_s = self._timeout_s if begun or self._first_s is None else min(self._first_s, self._timeout_s)
            raise SilentError(self._identifier, first_s, begun=begun) from exc
        except Exception as exc:
            self._blame(exc, begun=begun)
            raise

    async def _release(self, source: Any) -> None:
        """Let go of the provider's connection; idempotent."""
        with contextlib.suppress(RuntimeError):  # it is being closed already
            await source.aclose()
        await self.clock.close()

    def _blame(self, error: Exception, *, begun: bool = False) -> None:
        """Have *error*, in which the attempt ended, read by what was sent and what the provider said.

        *begun*: the answer had.

        Raises:
            UnsentError: a library could not write the request.
            UnreachedError: the provider could not be reached, or the connection was lost.
            SilentError: the HTTP library's own timeout came first.
            RefusedError: the library calls an error what was a refusal.
        """
        if not self.clock.sent and is_unsendable(error):
            raise UnsentError(self._identifier, brief(root_of(error))) from error
        if (lost := self.clock.lost) is not None:
            if lost.is_timeout:
                raise SilentError(self._identifier, self._timeout_s, begun=begun, why=lost.text) from error
            raise UnreachedError(self._identifier, lost.text, begun=begun) from error
        if self.clock.said is None and self.clock.declined is not None:  # Azure's class raises for a filter's end
            raise RefusedError(self._identifier, text=self.clock.declined) from error
        blame(error, self.clock.said)

    def _refuse_failed(self) -> None:
        """Raise for a stream in which the provider told of an error that the library has passed over."""
        if (said := self.clock.said) is not None:
            error = FailedAnswerError(self._identifier, said.message)
            blame(error, said)
            raise error

    def _refuse_broken(self, finish: str, tool: str | None) -> None:
        """Raise for a call of *tool* with broken arguments, unless the answer ended for want of room; None: no such."""
        if tool is not None and finish.lower() not in _NO_ROOM:
            raise BrokenCallError(self._identifier, tool)

    def _refuse_hollow(self, finish: str, refusal: str, message: BaseMessage | None, *, may_stop: bool) -> None:
        """Raise for an answer without content, unless it ended for a reason that needs none.

        *may_stop*: the caller gave stop sequences, and the first may come at once.
        """
        ended = finish.lower()
        declined = self.clock.declined
        if not refusal and declined is None and (ended in _NO_ROOM or (ended in _STOPPED and may_stop)):
            return
        finish = finish if declined is None else "refusal"
        raise hollow(self._identifier, refusal=refusal or declined or "", finish=finish, message=message)


def _with_ends(result: ChatResult) -> list[Any]:
    """Return the generations of *result*; Anthropic's class says beside them why the answer ended."""
    beside = result.llm_output or {}
    ends = {name: beside[name] for name in _MARKERS if beside.get(name)}
    for generation in result.generations if ends else ():
        generation.generation_info = ends | (generation.generation_info or {})
    return result.generations


def finish_of(piece: Any) -> str:
    """Return the reason by which an answer, or a piece of one, says that it has ended; "" where it says none."""
    for metadata in (piece.generation_info, piece.message.response_metadata):
        if not metadata or _TELLS.isdisjoint(metadata):
            continue
        for name in _MARKERS:
            if reason := metadata.get(name):
                return str(getattr(reason, "name", reason))
        if metadata.get("object") == "response":  # of OpenAI's Responses API
            return str((metadata.get("incomplete_details") or {}).get("reason") or metadata.get("status") or "")
    return ""


def _has_content(message: Any) -> bool:
    """Tell whether *message*, or a piece of one, carries anything for the caller: an empty text is nothing."""
    content = message.content
    if isinstance(content, str):
        if content:
            return True
    elif any(map(_is_something, content)) and not _only_refuses(content):
        return True
    if any(getattr(message, name, None) for name in _TOOLS):
        return True
    extra = message.additional_kwargs
    return bool(extra) and any(extra.get(name) for name in _SAYS_SOMETHING)


def _only_refuses(content: Sequence[Any]) -> bool:
    """Tell whether *content* has a refusal and no other text: what the model did before it declined is no answer."""
    kinds = {block.get("type") for block in content if isinstance(block, dict) and _is_something(block)}
    return "text" not in kinds and any(isinstance(block, dict) and block.get("type") == "refusal" for block in content)


def _is_something(block: Any) -> bool:
    if isinstance(block, str):
        return bool(block)
    return block.get("type") not in ("refusal", "text") or bool(block.get("text"))


def _refusal(message: Any) -> str:
    """Return the words by which *message*, or a piece of one, refuses; "" where it does not."""
    blocks = message.content if isinstance(message.content, list) else ()
    said = next((block.get("refusal") for block in blocks if isinstance(block, dict) and block.get("refusal")), "")
    return str(message.additional_kwargs.get("refusal") or said or _blocked(message.response_metadata))


def _blocked(metadata: Mapping[str, Any] | None) -> str:
    """Return why Gemini's *metadata* says that it blocked the prompt; "" where it did not."""
    reason = ((metadata or {}).get("prompt_feedback") or {}).get("block_reason")
    return f"the prompt is blocked, {getattr(reason, 'name', reason)}" if reason else ""
