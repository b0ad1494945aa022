"""The handle: a LangChain chat model that is built once and follows every later generation.

It composes and re-implements nothing: each call reads the generation once and delegates to that generation's inner
model, on the I/O loop of the client. What the inner model leaves out, the handle adds: who served the call, typed
errors, plain data only.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from langchain_core.language_models import BaseChatModel, LanguageModelInput, ModelProfile
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, convert_to_openai_messages
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.outputs import ChatGenerationChunk, ChatResult, LLMResult
from pydantic import Field

from liverouter import attempts
from liverouter.answers import Answer
from liverouter.clock import Clock
from liverouter.failures import translate
from liverouter.leaving import raise_anew
from liverouter.messages import portable
from liverouter.profile import DEFAULT_PROFILE, count_tokens
from liverouter.tools import BoundTools, structured, tool_request
from liverouter.usage import CallCount

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence

    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
    from langchain_core.language_models.base import LangSmithParams
    from langchain_core.runnables import Runnable
    from langchain_core.tools import BaseTool

    from liverouter.loop_thread import LoopThread
    from liverouter.snapshot import Snapshot
    from liverouter.store import Generation


class Source(Protocol):
    """Where a handle gets its generation and its loop: a client."""

    @property
    def io(self) -> LoopThread:
        """Return the loop on which provider calls run in this process."""

    @property
    def client_id(self) -> str:
        """Return what usage is counted under."""

    @property
    def current(self) -> Generation | None:
        """Return the generation in force, None while there is none; never waits."""

    def generation(self) -> Generation:
        """Return the generation in force; waits for the first one.

        Raises:
            LiveRouterError: there is none (NotReadyError), or the client is closed (ClosedError).
        """

    async def async_generation(self) -> Generation:
        """Return the generation in force as `generation` does, without blocking the caller's loop."""

    def reduce(self) -> tuple[Callable[..., LiveChatModel], tuple[Any, ...]]:
        """Return how another process gets its handle, as `__reduce__` does.

        Raises:
            TypeError: this client cannot be found again elsewhere.
        """


class LiveChatModel(BaseChatModel):
    """A chat model that serves every call with the config in force when the call begins, all chunks of it included.

    Parameters given here, bound or passed with a call, win over the configured ones.
    """

    source: Any = Field(exclude=True, repr=False)  # a Source
    temperature: float | None = None  # None: as configured
    max_tokens: int | None = None  # None: as configured; reads as what is in force
    top_p: float | None = None
    timeout: float | None = None  # seconds for one attempt; None: as configured
    stop: list[str] | None = None

    def pinned(self) -> Self:
        """Return the same handle frozen to the generation now in force: model and profile, for one agent run."""
        return self.model_copy(update={"source": _Pinned(self.source, self.source.generation())})

    @property
    def model_name(self) -> str:
        """Return the logical name that traces and metrics know; with litellm off, the provider's model."""
        snapshot: Snapshot = self.source.generation().snapshot
        return snapshot.model_name if snapshot.litellm_enable else snapshot.primary.model

    # -- what LangChain asks of a model -------------------------------------------------------------------------

    @property
    def _llm_type(self) -> str:
        return "liverouter"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        """Return what answers depend on: the key of LLM caches, which changes exactly when that does."""
        return {"model": self.model_name, "config": self.source.generation().snapshot.identity, **self._own_params()}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        own = {**self._own_params(), **kwargs}
        stop = stop or own.pop("stop", None)
        own.pop("stop", None)
        generation = self.source.generation()
        params: LangSmithParams = generation.chat._get_ls_params(stop=stop, **own)  # noqa: SLF001 - an inner model's hook
        for name, value in generation.snapshot.primary.params.items():
            params.setdefault(f"ls_{name}", value)  # type: ignore[misc]  # ls_temperature, ls_max_tokens
        return params

    async def agenerate(self, *args: Any, **kwargs: Any) -> LLMResult:
        """Answer as the base class does, once there is a generation; the caller's loop is free meanwhile."""
        await self.source.async_generation()
        return await super().agenerate(*args, **kwargs)

    async def astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[AIMessageChunk]:
        """Stream as the base class does, once there is a generation; the caller's loop is free meanwhile."""
        await self.source.async_generation()
        async with contextlib.aclosing(super().astream(*args, **kwargs)) as chunks:  # type: ignore[type-var]  # a generator
            async for chunk in chunks:
                yield chunk

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        del run_manager  # tokens of a whole answer are nobody's news
        call = self._begin(stop, kwargs)
        result: ChatResult = self.source.io.call(call.generate, messages)
        return result

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        del run_manager
        call = self._begin(stop, kwargs)
        result: ChatResult = await self.source.io.acall(call.generate, messages)
        return result

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        chunks = self.source.io.iterate(self._begin(stop, kwargs).stream, messages)
        try:
            for chunk in chunks:
                if run_manager is not None:
                    run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk
        finally:
            chunks.close()

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        chunks = self.source.io.aiterate(self._begin(stop, kwargs).stream, messages)
        try:
            async for chunk in chunks:
                if run_manager is not None:
                    await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk
        finally:
            await chunks.aclose()

    def bind_tools(
        self,
        tools: Sequence[Mapping[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: Mapping[str, Any] | str | bool | None = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind *tools* as they are: each call converts them for the model that is then in force.

        *tool_choice* is a tool's name, "auto", "none", "any" (or "required", True), or what the provider takes.
        """
        options = {"tool_choice": tool_choice, "strict": strict}
        given = {name: value for name, value in options.items() if value is not None}
        return self.bind(tools=BoundTools(tools, strict=strict), **given, **kwargs)

    def with_structured_output(
        self,
        schema: Mapping[str, Any] | type,
        *,
        method: Literal["json_schema", "function_calling", "json_mode"] = "json_schema",
        include_raw: bool = False,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Return a runnable that answers an instance of *schema* (a dict where that is no pydantic class).

        With *include_raw* it answers ``{"raw", "parsed", "parsing_error"}`` and raises no parsing error.

        Raises:
            ValueError: an unknown *method*, or json_mode with *strict*.
        """
        return structured(self, schema, method=method, include_raw=include_raw, strict=strict, **kwargs)

    def get_num_tokens(self, text: str) -> int:
        """Return the tokens of *text* by the tokenizer of the primary's model, or an estimate; fetches nothing."""
        if self.custom_get_token_ids is not None:
            return super().get_num_tokens(text)
        counted = count_tokens(self.source.generation().snapshot.primary, text=text)
        return count_tokens_approximately([text], extra_tokens_per_message=0) if counted is None else counted

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """Return the tokens of *messages* and *tools*, as :meth:`get_num_tokens` counts them."""
        if self.custom_get_token_ids is not None:
            return super().get_num_tokens_from_messages(messages, tools)
        bound = BoundTools(tools) if tools else None
        primary = self.source.generation().snapshot.primary
        counted = count_tokens(primary, messages=convert_to_openai_messages(messages), tools=bound)
        return count_tokens_approximately(messages, tools=[*bound] if bound else None) if counted is None else counted

    # -- one handle, everywhere ---------------------------------------------------------------------------------

    def __hash__(self) -> int:
        """Agree with equality: equal handles share their source."""
        return hash((type(self), id(self.source)))

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Return the handle itself: a copy would be live all the same."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Have another process make its own handle, over its own client."""
        return _restore, (*self.source.reduce(), {n: self.__dict__[n] for n in self.model_fields_set - {"source"}})

    # -- calls --------------------------------------------------------------------------------------------------

    def _own_params(self) -> dict[str, Any]:
        own = {name: self.__dict__.get(name) for name in ("temperature", "max_tokens", "top_p", "timeout", "stop")}
        return {name: value for name, value in own.items() if value is not None}

    def _begin(self, stop: list[str] | None, kwargs: dict[str, Any]) -> _Call:
        """Read the generation, once, and make the request for it."""
        generation = self.source.generation()
        request = {**self._own_params(), **kwargs}
        request.pop("stream", None)  # LangChain has chosen by calling this method and not the other
        if stop is not None:
            request["stop"] = stop
        request = tool_request(generation, request)
        return _Call(generation, request, self.source.client_id)


class _Call:
    """One call: its methods run on the I/O loop."""

    __slots__ = ("_client_id", "_generation", "_request")

    def __init__(self, generation: Generation, request: dict[str, Any], client_id: str) -> None:
        self._generation, self._request, self._client_id = generation, request, client_id

    async def generate(self, messages: list[BaseMessage]) -> ChatResult:
        record = attempts.record()
        count = CallCount(self._client_id, self._generation, record)
        chat, request = self._generation.chat, self._request
        work = chat._agenerate(portable(messages, self._generation), **request)  # noqa: SLF001 - one trace run
        clock = self._clock()
        try:
            result = await (work if clock is None else clock.wait(work))
            answer = Answer(self._generation, record)
            answer.finish(result)
        except Exception as exc:  # noqa: BLE001 - every error of a call is translated, and raised
            count.failed(exc)
            error = translate(exc, self._generation, record, answered=clock is not None and clock.answered)
        else:
            count.answered(answer)
            return result
        return raise_anew(error)

    async def stream(self, messages: list[BaseMessage]) -> AsyncGenerator[ChatGenerationChunk, None]:
        record = attempts.record()
        count = CallCount(self._client_id, self._generation, record)
        answer, begun, error = Answer(self._generation, record), False, None
        chunks = self._generation.chat._astream(portable(messages, self._generation), **self._request)  # noqa: SLF001 - one trace run
        clock = self._clock()
        bounded = chunks if clock is None else _bounded(chunks, clock)
        try:
            async for chunk in bounded:
                begun = True
                count.began()
                answer.add(chunk)
                yield chunk
        except Exception as exc:  # noqa: BLE001 - every error of a call is translated, and raised
            count.failed(exc)
            error = translate(exc, self._generation, record, answered=clock is not None and clock.answered)
        except (GeneratorExit, asyncio.CancelledError):
            if begun:  # the reader has had enough
                count.answered(answer)
            raise
        finally:
            for stream in (bounded, chunks):
                await stream.aclose()  # type: ignore[attr-defined]  # an async generator in every inner model
            if clock is not None:
                await clock.close()
        if error is not None:
            raise_anew(error)
        count.answered(answer)
        message = AIMessageChunk(content="", response_metadata=answer.metadata(), chunk_position="last")
        yield ChatGenerationChunk(message=message)

    def _clock(self) -> Clock | None:
        """Return what bounds this call until it begins to answer; with litellm each attempt has its own deadline."""
        generation, asked_s = self._generation, self._request.get("timeout")
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


class _Pinned:
    """A source that has stopped following."""

    def __init__(self, source: Source, generation: Generation) -> None:
        self._source, self._generation = source, generation

    @property
    def io(self) -> LoopThread:
        return self._source.io

    @property
    def client_id(self) -> str:
        return self._source.client_id

    @property
    def current(self) -> Generation:
        return self._generation

    def generation(self) -> Generation:
        return self._generation

    async def async_generation(self) -> Generation:
        return self._generation

    def reduce(self) -> tuple[Callable[..., LiveChatModel], tuple[Any, ...]]:
        raise TypeError("a pinned chat model belongs to its process; pickle the live one and pin it there")


def _restore(make: Callable[..., LiveChatModel], args: tuple[Any, ...], fields: dict[str, Any]) -> LiveChatModel:
    model = make(*args)
    return model.model_copy(update=fields) if fields else model


def _profile(self: LiveChatModel) -> ModelProfile:
    """Return what the generation in force can do, unless the handle was given a profile of its own."""
    if (own := self.__dict__.get("profile")) is not None:
        return own  # type: ignore[no-any-return]  # as given
    generation: Generation | None = self.source.current  # agents read it while they are built, where nothing may wait
    return dict(generation.profile if generation is not None else DEFAULT_PROFILE)  # type: ignore[return-value]  # a TypedDict must be a real dict


def _max_tokens(self: LiveChatModel) -> int | None:
    """Return the answer's limit in force; agents keep it free in the input budget."""
    own: int | None = self.__dict__.get("max_tokens")
    return own if own is not None else self.source.generation().snapshot.primary.max_tokens


def _live(name: str, read: Callable[[LiveChatModel], Any]) -> property:
    return property(read, lambda self, value: self.__dict__.__setitem__(name, value))


# Attached here: inside the class pydantic would take a property over a field for that field's default value.
LiveChatModel.profile = _live("profile", _profile)  # type: ignore[assignment]
LiveChatModel.max_tokens = _live("max_tokens", _max_tokens)  # type: ignore[assignment]
