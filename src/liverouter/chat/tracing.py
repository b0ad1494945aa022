"""Spans of OpenTelemetry: one per call, and below it one per attempt, named as the GenAI conventions say.

Nothing is recorded, and next to nothing is done, where the package opentelemetry-api is missing or nobody has set a
tracer provider. No text of a prompt, an answer or an error is ever in a span.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from liverouter.providers import spec_of
from liverouter.routing.causes import cause_of

try:
    from opentelemetry import context as contexts, trace as traces
except ImportError:
    traces = None  # type: ignore[assignment]  # then no call is traced

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from opentelemetry.trace import Span

    from liverouter.call import Call
    from liverouter.revision import Deployment

T = TypeVar("T")


class CallSpans:
    """The spans of one call, from here to `end`, and of each attempt below it.

    Used on the I/O loop, in the context of whoever called, whose span is the parent.
    """

    __slots__ = ("_answering", "_call", "_span")

    def __init__(self, call: Call) -> None:
        """Begin to trace *call*, which has asked nobody yet."""
        self._call = call
        self._span: Span | None = None
        self._answering: Span | None = None  # of the attempt that answers: it lasts as long as the answer
        if traces is None:
            return
        if isinstance(traces.get_tracer_provider(), traces.ProxyTracerProvider):
            return  # nobody has set a provider
        primary, revision = call.generation.primary, call.generation.snapshot.revision
        span = traces.get_tracer("liverouter").start_span(
            f"chat {primary.model}",
            kind=traces.SpanKind.CLIENT,
            attributes={
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": _provider(primary),
                "gen_ai.request.model": primary.model,
                "liverouter.name": call.generation.name,
                "liverouter.revision": revision,
            },
        )
        if span.is_recording():
            self._span = span

    def end(self, error: Exception | None) -> None:
        """End the spans of a call that ended in *error*; None where it was answered, or its reader has had enough."""
        if self._span is None:
            return
        call, span = self._call, self._span
        kind = "" if error is None else type(error).__qualname__
        if self._answering is not None:
            _end(self._answering, kind)
        served = call.served
        if call.answering:
            span.set_attributes(
                {
                    "gen_ai.provider.name": _provider(served),
                    "gen_ai.response.model": served.model,
                    "liverouter.deployment_id": served.id,
                    "liverouter.role": served.role,
                    "liverouter.failed_over": call.failed_over,
                }
            )
        span.set_attribute("liverouter.attempts", call.attempts)
        if call.tokens:
            span.set_attribute("gen_ai.usage.input_tokens", call.tokens["input_tokens"])
            span.set_attribute("gen_ai.usage.output_tokens", call.tokens["output_tokens"])
        _end(span, kind)

    async def attempt(self, deployment: Deployment, answer: Awaitable[T]) -> T:
        """Return what *answer*, an attempt at *deployment*, comes to; what it does inside is below its span."""
        if self._span is None:
            return await answer
        place = urlsplit(deployment.endpoint)
        span = traces.get_tracer("liverouter").start_span(
            f"attempt {deployment.model}",
            context=traces.set_span_in_context(self._span),
            kind=traces.SpanKind.CLIENT,
            attributes={
                "gen_ai.provider.name": _provider(deployment),
                "gen_ai.request.model": deployment.model,
                "liverouter.deployment_id": deployment.id,
                "liverouter.role": deployment.role,
                "server.address": place.hostname or "",
            },
        )
        token = contexts.attach(traces.set_span_in_context(span))
        try:
            result = await answer
        except Exception as exc:
            _end(span, str(cause_of(exc)))
            raise
        except BaseException:
            _end(span, "")  # the caller has gone
            raise
        finally:
            contexts.detach(token)
        self._answering = span
        return result


def _end(span: Span, error: str) -> None:
    """End *span*; *error* is the kind of error in which what it stands for ended, "" for none."""
    if error:
        span.set_attribute("error.type", error)
        span.set_status(traces.StatusCode.ERROR)
    span.end()


def _provider(deployment: Deployment) -> str:
    """Return the conventions' name of who serves *deployment*."""
    return spec_of(deployment).traced_name(deployment.model)
