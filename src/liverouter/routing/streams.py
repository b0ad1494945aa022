"""A Router whose attempts must really succeed: hollow answers and cut streams fail over like any other failure.

litellm invents a finish reason when a provider's stream ends without one, so that an empty, malformed, HTML or cut
stream looks like a success. Here every stream is read up to its first content inside the Router's own attempt; what is
wrong by then is raised there, and the Router retries, fails over and cools as for any error. After the first content
nothing can be taken back: what is wrong then is raised to the caller.

Importing this module imports litellm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NoReturn

import httpx
import litellm
import openai
from litellm import Router
from litellm.exceptions import MidStreamFallbackError
from litellm.llms.base_llm.chat.transformation import BaseLLMException

from liverouter.call import Call, current_call
from liverouter.routing.answer_errors import CutStreamError, hollow, provider_and_model
from liverouter.routing.clock import Clock
from liverouter.routing.drain import read_to_its_end
from liverouter.secrecy.leaving import bare, raise_anew

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
    from contextlib import AsyncExitStack

    from liverouter.secrecy.sealing import Secret

_EMPTY_IS_AN_ANSWER: Final = frozenset({"length"})  # the token limit left no room, and the caller is told so


class CheckedRouter(Router):  # type: ignore[misc]  # litellm has no types
    """litellm's Router with honest attempts, each noted in the record of its call."""

    check_streams: bool = True  # false: a stream with content may end without its finish marker
    secrets: Sequence[Secret] = ()  # what no error of a call may show

    async def _acompletion(self, model: str, messages: list[dict[str, Any]], **kwargs: Any) -> Any:
        """Make one attempt: the Router comes here for the first, for each retry and for each fallback."""
        call = current_call()
        try:
            # litellm imports its proxy's MCP gateway for the first call with tools, a second where `mcp` is installed
            answer = await super()._acompletion(model, messages, _skip_mcp_handler=True, **kwargs)
            identifier = (answer._hidden_params or {}).get("model_id") or ""  # noqa: SLF001 - litellm keeps it there
            if not isinstance(answer, CheckedStream):
                self._refuse_hollow(answer, identifier, kwargs)
                self.attempt_succeeded(identifier)
        except (BaseLLMException, httpx.HTTPError) as exc:
            error = _public(exc, kwargs["metadata"])
            _note(error, call)
            raise error from exc
        except Exception as exc:
            _note(exc, call)
            raise
        if call is not None:
            call.answered_by(identifier)
        return answer

    def attempt_failed(self, identifier: str, error: Exception) -> None:
        """Hear that *identifier* broke after it had begun to answer."""

    def attempt_succeeded(self, identifier: str) -> None:
        """Hear that *identifier* gave a whole answer."""

    async def _acompletion_streaming_iterator(
        self,
        model_response: Any,
        messages: list[dict[str, Any]],
        initial_kwargs: dict[str, Any],
        deployment_slot: AsyncExitStack | None = None,
    ) -> CheckedStream:
        """Return the stream once it has shown content; whatever is wrong before that is this attempt's failure."""
        del messages
        source = model_response.completion_stream
        if isinstance(source, openai.AsyncStream):
            await read_to_its_end(source.response)
            model_response.completion_stream = _Iterator(source)
        identifier = (model_response._hidden_params or {}).get("model_id") or ""  # noqa: SLF001 - litellm keeps it there

        def ended(error: Exception | None) -> None:
            if error is None:
                self.attempt_succeeded(identifier)
            else:
                self.attempt_failed(identifier, error)

        stop_given = bool(initial_kwargs.get("stop"))
        asked_s = initial_kwargs.get("timeout")
        stream = CheckedStream(
            model_response,
            deployment_slot,
            ended,
            strict=self.check_streams,
            may_be_empty=stop_given,
            timeout_s=float(asked_s if isinstance(asked_s, int | float) else self.timeout),
            secrets=self.secrets,
        )
        await stream.open()
        return stream

    def _refuse_hollow(self, answer: Any, identifier: str, kwargs: dict[str, Any]) -> None:
        """Raise for an answer without any content."""
        choices = getattr(answer, "choices", None) or ()
        if any(_has_content(choice.message) for choice in choices):
            return
        finish = choices[0].finish_reason if choices else None
        if finish in _EMPTY_IS_AN_ANSWER or (finish == "stop" and kwargs.get("stop")):
            return
        error = hollow(identifier, refusal=_refusal(choices[0].message if choices else None), finish=finish)
        error.failed_deployment_id = identifier
        raise error


def _note(error: Exception, call: Call | None) -> None:
    """Note *error* in the record of its call, where litellm had picked a deployment."""
    if call is not None and (failed := getattr(error, "failed_deployment_id", None)):
        call.failed_at(failed, error)


class _Iterator:
    """OpenAI's stream as its one iterator.

    litellm asks for an iterator for every chunk, and OpenAI's stream makes a new one each time: a generator, which
    asyncio then finds abandoned and closes in a task of its own.
    """

    def __init__(self, stream: openai.AsyncStream[Any]) -> None:
        self._stream = stream

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    def __anext__(self) -> Coroutine[Any, Any, Any]:
        return self._stream.__anext__()

    async def aclose(self) -> None:
        await self._stream.close()


class CheckedStream:
    """One provider's stream, checked: chunks as litellm makes them, in order, then the end or one error."""

    def __init__(
        self,
        source: Any,
        slot: AsyncExitStack | None,
        ended: Callable[[Exception | None], None],
        *,
        strict: bool,
        may_be_empty: bool,
        timeout_s: float,
        secrets: Sequence[Secret],
    ) -> None:
        """Check *source*, litellm's stream; nothing is read before `open`.

        Args:
            source: litellm's `CustomStreamWrapper`.
            slot: what litellm holds for the deployment while the stream lasts.
            ended: is told once how a stream that had begun to answer ended: by an error, or by None for its own end.
            strict: an end without the provider's finish marker is an error, after content too.
            may_be_empty: a stop without content is an answer: the caller gave stop sequences.
            timeout_s: seconds that it may go without content.
            secrets: what no error may show.
        """
        self._source, self._slot, self._ended = source, slot, ended
        self._strict, self._may_be_empty = strict, may_be_empty
        self._timeout_s, self._secrets = timeout_s, secrets
        self._held: list[Any] = []  # what came before the first content
        self._chunks = self._read()
        self._hidden_params = source._hidden_params  # noqa: SLF001 - litellm writes response headers there
        self._identifier = str(self._hidden_params.get("model_id") or "")

    def __aiter__(self) -> AsyncIterator[Any]:
        """Return the chunks; there is one reader."""
        return self._chunks

    async def aclose(self) -> None:
        """Let go of the provider's connection; idempotent."""
        await self._chunks.aclose()
        await self._release()

    async def open(self) -> None:
        """Read up to the first content, or to an end that needs none.

        Raises:
            Exception: the provider's error, or that the stream was empty, cut or refused.
        """
        try:
            async for chunk in self._source:
                self._held.append(chunk)
                choice = chunk.choices[0] if chunk.choices else None
                if choice is None:
                    continue
                if _has_content(choice.delta):
                    return
                if choice.finish_reason:
                    await self._judge_empty(choice.finish_reason)
                    return
            await self._fail(self._empty_error(None))
        except BaseException as exc:  # cancellation too: the provider's connection must go
            await self._release()
            if (error := _provider_error(exc)) is exc:
                raise
            raise error from None

    async def _read(self) -> AsyncGenerator[Any, None]:
        """Yield what `open` held back and what follows; tell `ended`, and raise what went wrong free of secrets."""
        error = None
        try:
            for chunk in self._held:
                yield chunk
            self._held.clear()
            clock = Clock(self._timeout_s)
            while (chunk := await clock.wait(anext(self._source, None))) is not None:
                if _says_something(chunk):
                    clock.heard()
                if self._strict and chunk.choices and chunk.choices[0].finish_reason and not self._is_finished():
                    await self._fail(CutStreamError(self._identifier))
                yield chunk
        except Exception as exc:  # noqa: BLE001 - raised below, out of the frames that hold a key
            error = self._silent(exc) if type(exc) is TimeoutError else _provider_error(exc)
            self._ended(error)
        else:
            self._ended(None)
        finally:
            await self._release()
        if error is not None:
            raise_anew(bare(error, [secret.reveal() for secret in self._secrets]))

    def _silent(self, cause: TimeoutError) -> Exception:
        """Return litellm's Timeout for a stream that had begun to answer and went without content for too long."""
        provider, model = provider_and_model(self._identifier)
        error = litellm.Timeout(
            f"nothing more came of the stream within {self._timeout_s:g} s", model=model, llm_provider=provider
        )
        error.failed_deployment_id, error.__cause__ = self._identifier, cause
        return error  # type: ignore[no-any-return]  # litellm has no types

    async def _judge_empty(self, finish: str) -> None:
        """Raise where an end without content is none."""
        if not self._is_finished():
            await self._fail(self._empty_error(None))
        if finish in _EMPTY_IS_AN_ANSWER or (finish == "stop" and self._may_be_empty):
            return
        await self._fail(self._empty_error(finish))

    def _empty_error(self, finish: str | None) -> Exception:
        texts = [_refusal(chunk.choices[0].delta) for chunk in self._held if chunk.choices]
        return hollow(self._identifier, refusal="".join(texts), finish=finish)

    def _is_finished(self) -> bool:
        """Tell whether the provider itself said that it had finished; litellm says so in any case."""
        source = self._source
        return source.received_finish_reason is not None or source.intermittent_finish_reason is not None

    async def _fail(self, error: Exception) -> NoReturn:
        """Raise *error* after telling litellm's callbacks, which believe in a success."""
        await self._source.logging_obj.dispatch_failure_handlers(error, "", prefer_async_handlers=True)
        raise error

    async def _release(self) -> None:
        """Let go of the connection and of litellm's slot; idempotent."""
        await self._source.aclose()
        if self._slot is not None:
            await self._slot.aclose()


def _provider_error(exc: BaseException) -> Any:
    """Return what litellm wrapped for its own failover, which has no part in ours."""
    return getattr(exc, "original_exception", None) or exc if isinstance(exc, MidStreamFallbackError) else exc


def _says_something(chunk: Any) -> bool:
    return bool(chunk.choices) and (_has_content(chunk.choices[0].delta) or bool(chunk.choices[0].finish_reason))


def _has_content(message: Any) -> bool:
    """Tell whether a message, or a stream's delta, carries anything for the caller."""
    get = message.get
    return bool(
        get("content")
        or get("tool_calls")
        or get("function_call")
        or get("reasoning_content")
        or get("thinking_blocks")
        or get("audio")
        or get("images")
    )


def _refusal(message: Any) -> str:
    return (message.get("refusal") if message is not None else None) or ""


def _public(exc: Exception, metadata: dict[str, Any]) -> Exception:
    """Return litellm's public error for one of its inner ones: it opens Vertex streams after its own mapping."""
    provider, _, model = metadata["deployment"].partition("/")
    try:
        litellm.exception_type(model=model, original_exception=exc, custom_llm_provider=provider)
    except Exception as mapped:  # noqa: BLE001 - that is how it returns
        mapped.failed_deployment_id = metadata["model_info"]["id"]  # type: ignore[attr-defined]  # litellm's own mark
        return mapped
    return exc
