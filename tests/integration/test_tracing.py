"""A call is a span of OpenTelemetry with one below it per attempt, in the trace of whoever called."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from liverouter import CallError
from liverouter.testing import MemoryRouter, StandIn
from tests.kit.standins import collect, fallback, live, primary
from tests.kit.wires import LITELLM_WARNINGS, NATIVE_WARNINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.sdk.trace import ReadableSpan

    from liverouter.chat.model import LiveChatModel

pytestmark = [*LITELLM_WARNINGS, *NATIVE_WARNINGS]

PROMPT: Final = "a secret of the caller"
WAYS: Final[dict[str, Callable[[LiveChatModel], Any]]] = {
    "invoke": lambda model: model.invoke(PROMPT),
    "stream": lambda model: list(model.stream(PROMPT)),
    "ainvoke": lambda model: asyncio.run(model.ainvoke(PROMPT)),
    "astream": lambda model: asyncio.run(collect(model, PROMPT)),
}


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    """What all spans of this process are exported to."""
    kept, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    trace.set_tracer_provider(provider)
    return kept


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> Callable[[], list[ReadableSpan]]:
    """Return the spans of the test by now, the newest ended last; Anthropic's library makes some of its own."""
    exporter.clear()
    ours = ("liverouter", "caller")
    return lambda: [
        span
        for span in exporter.get_finished_spans()
        if span.instrumentation_scope is not None and span.instrumentation_scope.name in ours
    ]


@pytest.fixture(scope="module")
def standins() -> Iterator[tuple[StandIn, StandIn]]:
    """A primary and a fallback."""
    with StandIn("openai") as first, StandIn("anthropic") as second:
        yield first, second


@pytest.fixture(scope="module", params=[True, False], ids=["litellm", "native"])
def router(request: pytest.FixtureRequest, standins: tuple[StandIn, StandIn]) -> Iterator[MemoryRouter]:
    """A client of them, by each engine; its model "fast" asks the one for a smaller model, and then the other."""
    first, second = standins
    rows: dict[str, Any] = {"litellm_enable": request.param, "litellm_num_retries": 0, "litellm_allowed_fails": 1000}
    rows["llm:fast"] = {"provider": "openai", "model": "gpt-4o-mini", "fallbacks": fallback(second)}
    with live(first, second, **rows) as router:
        yield router


@pytest.fixture
def model(router: MemoryRouter) -> LiveChatModel:
    """The handle of the default."""
    return router.chat_model()


class TestCall:
    @pytest.mark.parametrize("way", WAYS)
    def test_failover_is_one_span_with_two_attempts_in_the_callers_trace(
        self,
        model: LiveChatModel,
        standins: tuple[StandIn, StandIn],
        spans: Callable[[], list[ReadableSpan]],
        way: str,
    ) -> None:
        """Who was asked, who answered, what it took; nothing of what was said."""
        standins[0].fail("500")
        try:
            with trace.get_tracer("caller").start_as_current_span("request"):
                WAYS[way](model)
        finally:
            standins[0].heal()
        failed, answered, call, root = spans()
        assert call.name == "chat gpt-4o"
        assert call.parent is not None
        assert root.context is not None
        assert (call.parent.span_id, call.context.trace_id) == (root.context.span_id, root.context.trace_id)
        facts: dict[str, Any] = dict(call.attributes or {})
        assert facts.pop("liverouter.deployment_id") == (answered.attributes or {})["liverouter.deployment_id"]
        assert facts.pop("gen_ai.usage.input_tokens") > 0
        assert facts.pop("gen_ai.usage.output_tokens") > 0
        assert facts == {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "anthropic",
            "gen_ai.request.model": "gpt-4o",
            "gen_ai.response.model": (answered.attributes or {})["gen_ai.request.model"],
            "liverouter.attempts": 2,
            "liverouter.failed_over": True,
            "liverouter.name": "default",
            "liverouter.revision": 1,
            "liverouter.role": "fallback",
        }
        for attempt, role in ((failed, "primary"), (answered, "fallback")):
            assert attempt.parent is not None
            assert attempt.parent.span_id == call.context.span_id
            assert (attempt.attributes or {})["liverouter.role"] == role
        assert "500" in str((failed.attributes or {})["error.type"])
        assert "error.type" not in (answered.attributes or {})
        assert PROMPT not in "".join(span.to_json() for span in spans())

    @pytest.mark.parametrize("way", WAYS)
    def test_failure_has_its_kind_and_no_text(
        self,
        model: LiveChatModel,
        standins: tuple[StandIn, StandIn],
        spans: Callable[[], list[ReadableSpan]],
        way: str,
    ) -> None:
        """Each attempt and the call are errors of a kind; what the provider wrote is in none."""
        for standin in standins:
            standin.fail("500")
        try:
            with pytest.raises(CallError):
                WAYS[way](model)
        finally:
            for standin in standins:
                standin.heal()
        found = spans()
        assert [span.status.status_code for span in found] == [trace.StatusCode.ERROR] * 3
        assert all(span.status.description is None and not span.events for span in found)
        assert (found[-1].attributes or {})["error.type"] == "EveryDeploymentFailedError"

    @pytest.mark.parametrize("way", WAYS)
    def test_model_of_another_name_is_told_by_it(
        self,
        router: MemoryRouter,
        standins: tuple[StandIn, StandIn],
        spans: Callable[[], list[ReadableSpan]],
        way: str,
    ) -> None:
        """Its own primary, its own fallback; a name that nobody configured is the default's."""
        standins[0].fail("500")
        try:
            WAYS[way](router.chat_model("fast"))
        finally:
            standins[0].heal()
        failed, answered, call = spans()
        assert call.name == "chat gpt-4o-mini"
        facts = call.attributes or {}
        assert (facts["liverouter.name"], facts["liverouter.role"]) == ("fast", "fallback")
        assert (failed.attributes or {})["gen_ai.request.model"] == "gpt-4o-mini"
        assert facts["gen_ai.response.model"] == (answered.attributes or {})["gen_ai.request.model"]
        WAYS[way](router.chat_model("nobody-configured-it"))
        call = spans()[-1]
        assert ((call.attributes or {})["liverouter.name"], call.name) == ("default", "chat gpt-4o")

    def test_stream_left_early_ends_its_spans_without_error(
        self, model: LiveChatModel, spans: Callable[[], list[ReadableSpan]], wait_until: Callable[..., None]
    ) -> None:
        """A reader that has had enough is no failure; the spans last as long as it read."""
        stream = model.stream(PROMPT)
        next(stream)
        stream.close()  # type: ignore[attr-defined]  # a generator
        wait_until(lambda: len(spans()) == 2)
        assert [span.status.status_code for span in spans()] == [trace.StatusCode.UNSET] * 2

    def test_swap_is_traced_as_no_call(
        self, standins: tuple[StandIn, StandIn], exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A provider's class that is gone through before it serves leaves no span, not of its own library either."""
        monkeypatch.setattr("liverouter.routing.warmup._warmed", set())
        first, second = standins
        with live(first, litellm_enable=False) as client:
            exporter.clear()
            client.set(**primary(second), secrets=second.secrets())
            assert exporter.get_finished_spans() == ()
            client.chat_model().invoke(PROMPT)
            assert exporter.get_finished_spans(), "nothing is traced at all"


class TestWithout:
    def test_library_that_is_missing_is_not_needed(self) -> None:
        """Without opentelemetry-api nothing is traced, and calls are as they were."""
        script = """
import json, sys
sys.modules["opentelemetry"] = None
from liverouter.chat import tracing
print(json.dumps(tracing.traces is None))
"""
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert json.loads(done.stdout) is True
