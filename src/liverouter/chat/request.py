"""One request to one generation, made on the I/O loop: walk over its deployments, sign the answer, count the call."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult

from liverouter.call import Call
from liverouter.chat import answers, json_mode, schema_tool
from liverouter.chat.errors import translate
from liverouter.chat.history import fitted, takes
from liverouter.chat.parameters import for_deployment, ours, read
from liverouter.chat.profile import told_to_tracers
from liverouter.chat.prompt_cache import cached, ttls, unmarked
from liverouter.chat.tools import deployment_named, is_forced, tool_request, tools_for
from liverouter.chat.tracing import CallSpans
from liverouter.events import CallFitted, HistoryFitted
from liverouter.routing.attempt import Attempt
from liverouter.routing.causes import Cause, cause_of
from liverouter.routing.cooldowns import Limits
from liverouter.routing.walk import Walk
from liverouter.secrecy.leaving import raise_anew

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from langchain_core.messages import BaseMessage

    from liverouter.chat.usage import UsageCounter
    from liverouter.generation import Generation
    from liverouter.revision import Deployment

T = TypeVar("T")


class Request:
    """What `LiveChatModel` asks of the generation in force; each method makes one call.

    Args:
        generation: serves the call to its end, whatever is activated meanwhile.
        params: keyword arguments of a chat model: tools, stop, temperature, timeout (seconds for one attempt); `model`
            names one deployment, `num_retries` and `disable_fallbacks` say how often and whether others are asked.
        usage: counts the call, once, however it ends.

    Attributes:
        served: the deployment that answers; None while none does.

    Raises:
        CallError: a parameter has the wrong type.
        ValueError: no deployment is called as `model` says.
    """

    __slots__ = ("_alone", "_generation", "_named", "_parameters", "_timeout_s", "_told", "_tries", "_usage", "served")

    def __init__(self, generation: Generation, params: dict[str, Any], usage: UsageCounter) -> None:
        snapshot, params, self._told = generation.snapshot, ours(params), False
        self._generation, self._usage = generation, usage
        self.served: Deployment | None = None
        retries, named = params.pop("num_retries", None), params.pop("model", None)
        self._tries = snapshot.tries if retries is None else max(int(retries), 0) + 1
        self._named = None if named is None else deployment_named(generation, named)
        self._alone = params.pop("disable_fallbacks", False) is True or self._named is not None
        asked_s = params.get("timeout")
        self._timeout_s = None if asked_s is None else float(asked_s)  # the caller's wins over the deployments'
        self._parameters = read(params)

    async def generate(self, messages: list[BaseMessage]) -> ChatResult:
        """Return the whole answer, signed in `response_metadata`.

        Raises:
            Exception: the provider's error as `chat.errors.translate` types it, without frames and secrets.
        """
        call, error = Call(self._generation), None
        spans = CallSpans(call)
        try:
            result = await self._first(call, messages, Attempt.generate, spans)
            answers.finish(call, result)
        except Exception as exc:  # noqa: BLE001 - every error of a call is translated, and raised
            error = self._failed(call, exc)
        else:
            self._answered(call)
            return result
        finally:
            spans.end(error)
        return raise_anew(error)

    async def stream(self, messages: list[BaseMessage]) -> AsyncGenerator[ChatGenerationChunk, None]:
        """Yield the answer as it comes, and at its end an empty chunk that is signed.

        Raises:
            Exception: the provider's error as `chat.errors.translate` types it, without frames and secrets; what was
                yielded before stays with the caller.
        """
        call, error, chunks = Call(self._generation), None, None
        spans = CallSpans(call)
        try:
            chunks = await self._first(call, messages, Attempt.open, spans)
            self._usage.begun(call)
            async for chunk in chunks:
                answers.note(call, chunk)
                yield chunk
        except Exception as exc:  # noqa: BLE001 - every error of a call is translated, and raised
            if chunks is not None:  # it broke after it had begun to answer
                self._count(call.served, exc)
            error = self._failed(call, exc)
        except (GeneratorExit, asyncio.CancelledError):
            if call.begun:  # the reader has had enough
                answers.price(call)
                self._usage.answered(call)
            raise
        finally:
            spans.end(error)
            if chunks is not None:
                await chunks.aclose()
        if error is not None:
            raise_anew(error)
        answers.price(call)
        self._answered(call)
        message = AIMessageChunk(content="", response_metadata=answers.signature(call), chunk_position="last")
        yield ChatGenerationChunk(message=message, generation_info=told_to_tracers(call.served))

    async def _first(
        self,
        call: Call,
        messages: list[BaseMessage],
        ask: Callable[[Attempt, list[BaseMessage], Any], Awaitable[T]],
        spans: CallSpans,
    ) -> T:
        """Return what the first deployment answers that does; each failed attempt is noted in *call*, and counted.

        Raises:
            Exception: the error of the first attempt, where none answers.
        """
        generation = self._generation
        walk = Walk(self._deployments(), tries=self._tries, alone=self._alone)
        while (deployment := walk.next(generation.cooling)) is not None:
            call.began_at = time.monotonic()
            attempt = Attempt(
                generation.chats[deployment.id],
                deployment,
                timeout_s=deployment.timeout_s if self._timeout_s is None else self._timeout_s,
                strict=generation.snapshot.check_streams,
            )
            try:
                params = self._params_for(deployment, messages)
                named = params.pop(schema_tool.KEY, None)
                told_so = json_mode.told_so(messages, self._parameters.kept.get("response_format"))
                taken = takes(generation, deployment, params)
                history, changes = fitted(told_so, taken)
                if changes:
                    told = tuple(f"{kind} ({times})" for kind, times in changes.items())
                    self._usage.emit(HistoryFitted(deployment.id, told, generation.told_name))
                history = cached(history, params, deployment, taken)
                call.cache_ttls = ttls(history, params, taken)
                answer = await spans.attempt(deployment, ask(attempt, history, params))
            except Exception as exc:  # noqa: BLE001 - whatever an attempt ends in, another deployment may answer
                call.failed_at(deployment.id, exc, answered=attempt.clock.answered)
                walk.failed(self._count(deployment, exc, answered=attempt.clock.answered))
            else:
                call.answered_by(deployment)
                self.served = deployment
                call.is_cached = not attempt.clock.sent
                return answer if named is None else _as_text(answer, named)
        raise call.failures[0][1]

    def _params_for(self, deployment: Deployment, messages: list[BaseMessage]) -> dict[str, Any]:
        """Return the keyword arguments for the chat model of *deployment*, made for this attempt alone.

        Raises:
            CallError: the call is about a tool that it does not have.
            ValueError: it asks for JSON in a way that the provider does not know.
        """
        generation, asked = self._generation, dict(self._parameters.kept)
        if (form := asked.get("response_format")) is not None:
            asked["response_format"] = json_mode.fitted_form(form, generation, deployment, messages)
        kept, left_out = tools_for(generation, deployment, asked)
        forced = is_forced(generation, deployment, kept)
        parameters = replace(self._parameters, kept=kept)
        request, told = for_deployment(parameters, generation, deployment, messages, forced=forced)
        told += left_out
        if kept.get("response_format") is not form:
            told.append("response_format")
        params = tool_request(generation, deployment, request)
        if unmarked(params, deployment, native=generation.is_native):
            told.append("cache_control of a tool")
        if told and not self._told:
            self._told = True
            self._usage.emit(CallFitted(deployment.id, tuple(told), generation.told_name))
        return params

    def _deployments(self) -> tuple[Deployment, ...]:
        """Return those that may serve the call: the named one, or all."""
        return self._generation.deployments if self._named is None else (self._named,)

    def _count(self, deployment: Deployment, exc: Exception, *, answered: bool = True) -> Cause:
        """Count the failed attempt *exc* against *deployment*, where there is another one to ask; return its cause."""
        cause, snapshot = cause_of(exc, answered=answered), self._generation.snapshot
        if len(self._generation.chats) > 1:
            limits = Limits(snapshot.allowed_fails, snapshot.cooldown_time_s)
            self._generation.cooldowns.add_failure(deployment.id, cause, limits)
        return cause

    def _answered(self, call: Call) -> None:
        """Count that *call* was answered whole."""
        self._generation.cooldowns.add_success(call.served.id)
        self._usage.answered(call)

    def _failed(self, call: Call, exc: Exception) -> Exception:
        """Count that *call* ended in *exc*, and return the error to raise for it."""
        self._usage.failed(call, exc)
        return translate(exc, call)


def _as_text(answer: Any, name: str) -> Any:
    """Return *answer*, whole or a stream, in which a call of the tool *name* is text."""
    if isinstance(answer, ChatResult):
        return schema_tool.whole_as_text(answer, name)
    return schema_tool.stream_as_text(answer, name)
