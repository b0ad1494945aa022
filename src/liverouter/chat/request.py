"""One request to one generation, made on the I/O loop: call the inner model, sign the answer, count the call."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult

from liverouter.call import Call
from liverouter.chat import answers
from liverouter.chat.errors import translate
from liverouter.chat.messages import portable
from liverouter.routing.clock import Clock
from liverouter.secrecy.leaving import raise_anew

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from langchain_core.messages import BaseMessage

    from liverouter.chat.usage import UsageCounter
    from liverouter.generation import Generation


class Request:
    """What `LiveChatModel` asks of the generation in force; each method makes one call.

    Args:
        generation: serves the call to its end, whatever is activated meanwhile.
        params: keyword arguments of the inner model: tools, stop, temperature, timeout (seconds for one attempt).
        usage: counts the call, once, however it ends.
    """

    __slots__ = ("_generation", "_params", "_usage")

    def __init__(self, generation: Generation, params: dict[str, Any], usage: UsageCounter) -> None:
        self._generation, self._params, self._usage = generation, params, usage

    async def generate(self, messages: list[BaseMessage]) -> ChatResult:
        """Return the whole answer, signed in `response_metadata`.

        Raises:
            Exception: the provider's error as `chat.errors.translate` types it, without frames and secrets.
        """
        call, clock = Call.begin(self._generation), self._clock()
        work = self._generation.chat._agenerate(portable(messages, self._generation), **self._params)  # noqa: SLF001 - one trace run
        try:
            result = await (work if clock is None else clock.wait(work))
            answers.finish(call, result)
        except Exception as exc:  # noqa: BLE001 - every error of a call is translated, and raised
            error = self._failed(call, exc, clock)
        else:
            self._usage.answered(call)
            return result
        return raise_anew(error)

    async def stream(self, messages: list[BaseMessage]) -> AsyncGenerator[ChatGenerationChunk, None]:
        """Yield the answer as it comes, and at its end an empty chunk that is signed.

        Raises:
            Exception: the provider's error as `chat.errors.translate` types it, without frames and secrets; what was
                yielded before stays with the caller.
        """
        call, clock, error = Call.begin(self._generation), self._clock(), None
        chunks = self._generation.chat._astream(portable(messages, self._generation), **self._params)  # noqa: SLF001 - one trace run
        bounded = chunks if clock is None else _bounded(chunks, clock)
        try:
            async for chunk in bounded:
                self._usage.begun(call)
                answers.note(call, chunk)
                yield chunk
        except Exception as exc:  # noqa: BLE001 - every error of a call is translated, and raised
            error = self._failed(call, exc, clock)
        except (GeneratorExit, asyncio.CancelledError):
            if call.begun:  # the reader has had enough
                self._settle(call)
            raise
        finally:
            for stream in (bounded, chunks):
                await stream.aclose()  # type: ignore[attr-defined]  # an async generator in every inner model
            if clock is not None:
                await clock.close()
        if error is not None:
            raise_anew(error)
        self._settle(call)
        message = AIMessageChunk(content="", response_metadata=answers.signature(call), chunk_position="last")
        yield ChatGenerationChunk(message=message)

    def _settle(self, call: Call) -> None:
        """Note what a streamed *call* cost, and count it as answered."""
        answers.price(call)
        self._usage.answered(call)

    def _failed(self, call: Call, exc: Exception, clock: Clock | None) -> Exception:
        """Count that *call* ended in *exc*, and return the error to raise for it."""
        self._usage.failed(call, exc)
        return translate(exc, call, answered=clock is not None and clock.answered)

    def _clock(self) -> Clock | None:
        """Return what bounds this call until it begins to answer; with litellm each attempt has its own deadline."""
        generation, asked_s = self._generation, self._params.get("timeout")
        if generation.router is not None:
            return None
        return Clock(float(asked_s) if isinstance(asked_s, int | float) else generation.snapshot.timeout_s)


async def _bounded(
    chunks: AsyncIterator[ChatGenerationChunk], clock: Clock
) -> AsyncGenerator[ChatGenerationChunk, None]:
    """Yield *chunks*, with no longer silence before or between them than *clock* allows."""
    while (chunk := await clock.wait(anext(chunks, None))) is not None:
        if _says_something(chunk):
            clock.heard()
        yield chunk


def _says_something(chunk: ChatGenerationChunk) -> bool:
    """Tell whether *chunk* has anything for the caller: an empty text is none."""
    message: Any = chunk.message
    blocks = message.content if isinstance(message.content, list) else ()
    other = any(isinstance(block, dict) and block.get("type") != "text" for block in blocks)
    return bool(message.text or other or message.additional_kwargs or getattr(message, "tool_call_chunks", None))
