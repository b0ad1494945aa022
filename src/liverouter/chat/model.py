"""The handle: a LangChain chat model that is built once and follows every later generation.

It composes and re-implements nothing: each call reads the generation once and delegates to that generation's inner
model, on the I/O loop of the client. What the inner model leaves out, the handle adds: who served the call, typed
errors, plain data only.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, BaseRunManager, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput, ModelProfile
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult, LLMResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from pydantic import Field

from liverouter.chat.bound import BoundTools
from liverouter.chat.profile import DEFAULT_PROFILE, traced
from liverouter.chat.request import Request
from liverouter.chat.source import PinnedSource
from liverouter.chat.structured import structured
from liverouter.chat.tokens import tokens_of_messages, tokens_of_text

if TYPE_CHECKING:
    from liverouter.generation import Generation

# The provider that the handle itself reports, in both engines: agents ask once, and a later call may be another's.
PROVIDER: Final = "litellm"
_PARAMETERS: Final = ("temperature", "max_tokens", "top_p", "timeout", "stop")  # that a handle may be given
# What all copies of a handle share.
_SHARED: Final = ("source", "restore", "cache", "callbacks", "custom_get_token_ids", "rate_limiter")


class LiveChatModel(BaseChatModel):
    """A chat model that serves every call with the config in force when the call begins, all chunks of it included.

    Parameters given here, bound or passed with a call, win over the configured ones.
    """

    source: Any = Field(exclude=True, repr=False)  # a Source
    restore: Any = Field(default=None, exclude=True, repr=False)  # how another process makes this handle, if it can
    temperature: float | None = None  # None: as configured
    max_tokens: int | None = None  # None: as configured; reads as what is in force
    top_p: float | None = None
    timeout: float | None = None  # seconds for one attempt; None: as configured
    stop: list[str] | None = None

    def pinned(self) -> Self:
        """Return the same handle frozen to the generation now in force: model and profile, for one agent run."""
        return self.model_copy(update={"source": PinnedSource(self.source, self.source.generation()), "restore": None})

    @property
    def model_name(self) -> str:
        """Return the logical name that traces and metrics know; with litellm off, the provider's model."""
        generation: Generation = self.source.generation()
        return generation.logical_name if generation.snapshot.litellm_enable else generation.primary.model

    # -- what LangChain asks of a model -------------------------------------------------------------------------

    @property
    def _llm_type(self) -> str:
        return "liverouter"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        """Return what answers depend on: the key of LLM caches, which changes exactly when that does."""
        generation: Generation = self.source.generation()
        return {"model": generation.primary.model, "config": generation.identity, **self._own_params()}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        """Return what tracers record of a call: the inner model's, and configured ones that the call does not give."""
        own = {**self._own_params(), **kwargs}
        stop = stop or own.pop("stop", None)
        own.pop("stop", None)
        generation = self.source.generation()
        params: LangSmithParams = generation.chat._get_ls_params(stop=stop, **own)  # noqa: SLF001 - an inner model's hook
        params["ls_provider"] = PROVIDER
        if not generation.is_native:  # whose models are called by a deployment's id
            params["ls_model_name"] = kwargs.get("model", self.model_name)
        for name in ("temperature", "max_tokens", "stop"):
            if (value := generation.primary.params.get(name)) is not None:
                params.setdefault(f"ls_{name}", value)  # type: ignore[misc]  # one of its members
        return params

    def _get_ls_params_with_defaults(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        """Return what tracers record as a run begins: as above, under provider and model of whom it will ask first."""
        generation = self.source.generation()
        cooling = generation.cooling
        first = next((d for d in generation.deployments if d.id not in cooling), generation.primary)
        params = super()._get_ls_params_with_defaults(stop=stop, **kwargs)
        return {**params, **traced(first)}  # type: ignore[typeddict-item]  # two of its members, and the name

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
        request = self._request(stop, kwargs)
        result: ChatResult = self.source.io.call(request.generate, messages)
        _trace(run_manager, request)
        return result

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        request = self._request(stop, kwargs)
        result: ChatResult = await self.source.io.acall(request.generate, messages)
        _trace(run_manager, request)
        return result

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        request = self._request(stop, kwargs)
        chunks = self.source.io.iterate(request.stream, messages)
        try:
            for chunk in chunks:
                if run_manager is not None:
                    run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk
        finally:
            _trace(run_manager, request)
            chunks.close()

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        request = self._request(stop, kwargs)
        chunks = self.source.io.aiterate(request.stream, messages)
        try:
            async for chunk in chunks:
                if run_manager is not None:
                    await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk
        finally:
            _trace(run_manager, request)
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
        return tokens_of_text(self.source.generation().primary, text)

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """Return the tokens of *messages* and *tools*, as :meth:`get_num_tokens` counts them."""
        if self.custom_get_token_ids is not None:
            return super().get_num_tokens_from_messages(messages, tools)
        bound = BoundTools(tools) if tools else None
        return tokens_of_messages(self.source.generation().primary, messages, bound)

    # -- one handle, everywhere ---------------------------------------------------------------------------------

    def __hash__(self) -> int:
        """Agree with equality: equal handles share their source."""
        return hash((type(self), self.source))

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Return a handle with parameters of its own, on the same client, callbacks and cache."""
        memo = {} if memo is None else memo
        for name in _SHARED:
            value = self.__dict__.get(name)
            memo[id(value)] = value
        return super().__deepcopy__(memo)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with the fields of *update*, as pydantic does; *deep* means what `copy.deepcopy` does."""
        return super(LiveChatModel, copy.deepcopy(self) if deep else self).model_copy(update=update)

    def __reduce__(self) -> tuple[Any, ...]:
        """Have another process make its own handle, over its own client.

        Raises:
            TypeError: this handle's client or generation cannot be found again elsewhere.
        """
        if self.restore is None:
            raise TypeError("this handle belongs to its process: pickle that of get_chat_model(), and pin it there")
        own = {name: self.__dict__[name] for name in self.model_fields_set - {"source", "restore"}}
        return _restored, (self.restore, own)

    # -- calls --------------------------------------------------------------------------------------------------

    def _own_params(self) -> dict[str, Any]:
        """Return the parameters that this handle was given, by name; read past the properties, which are live."""
        return {name: value for name in _PARAMETERS if (value := self.__dict__.get(name)) is not None}

    def _request(self, stop: list[str] | None, kwargs: dict[str, Any]) -> Request:
        """Read the generation, once, and make the request for it."""
        generation = self.source.generation()
        request = {**self._own_params(), **kwargs}
        request.pop("stream", None)  # LangChain has chosen by calling this method and not the other
        if stop is not None:
            request["stop"] = stop
        return Request(generation, request, self.source.usage)


def _trace(run_manager: BaseRunManager | None, request: Request) -> None:
    """Have the run of *request* say who served it, where somebody did."""
    if run_manager is not None and request.served is not None:
        run_manager.metadata.update(traced(request.served))


def _restored(restore: Callable[[], LiveChatModel], fields: dict[str, Any]) -> LiveChatModel:
    """Return a pickled handle in another process: what *restore* makes there, with the *fields* that it was given."""
    model = restore()
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
    return own if own is not None else self.source.generation().primary.max_tokens


def _live(name: str, read: Callable[[LiveChatModel], Any]) -> property:
    """Return a property over the field *name*, which *read* answers for; what is assigned is kept as the field's."""

    def keep(self: LiveChatModel, value: Any) -> None:
        self.__dict__[name] = value
        self.model_fields_set.add(name)

    return property(read, keep)


# Attached here: inside the class pydantic would take a property over a field for that field's default value.
LiveChatModel.profile = _live("profile", _profile)  # type: ignore[assignment]
LiveChatModel.max_tokens = _live("max_tokens", _max_tokens)  # type: ignore[assignment]
