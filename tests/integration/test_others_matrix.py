"""Providers beside the five in every failure and with every request, where their format or their engine differs."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

import pytest

from liverouter.errors import CallError
from liverouter.events import CallFitted, HistoryFitted
from liverouter.testing import FAILURES, Failure, MemoryRouter, StandIn
from tests.kit.features import FEATURES, Sum, answered
from tests.kit.standins import bodies, fallback, served
from tests.kit.wires import LITELLM_WARNINGS, NATIVE_WARNINGS
from tests.kit.world import METHODS, Clock, ask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from liverouter.events import Event

pytestmark = [*LITELLM_WARNINGS, *NATIVE_WARNINGS]

# how a place is called -> its provider's stand-in, the model, where litellm calls it, whether litellm does
PLACES: Final = {
    "openai-compatible": ("openai-compatible", "qwen3-32b", "", True),
    "openai-compatible, native": ("openai-compatible", "qwen3-32b", "", False),
    "openrouter": ("openai-compatible", "openrouter/meta-llama/llama-3.3-70b-instruct", "/v1", True),
    "gemini": ("vertex-ai", "gemini/gemini-2.5-flash", "/v1beta", True),
}
BY_OPENAIS_API: Final = [place for place, (provider, *_) in PLACES.items() if provider == "openai-compatible"]
CALLERS: Final = {  # the request is to blame: nothing cools
    *(Failure.BAD_REQUEST, Failure.CONTEXT_WINDOW, Failure.CONTENT_POLICY, Failure.TOO_LARGE),
    *(Failure.UNPROCESSABLE, Failure.REFUSAL),
}
WAITS: Final = {Failure.BLACKHOLE, Failure.HANG, Failure.SLOW, Failure.STALL}  # for a clock that is the same everywhere
COOLDOWN_S: Final = 30.0


class Stage:
    """The stand-ins, and one live client whose rows are swapped."""

    def __init__(self, stack: ExitStack) -> None:
        """Start everything; *stack* ends it."""
        names = ("openai-compatible", "vertex-ai", "anthropic")
        self.standins = {name: stack.enter_context(StandIn(name, answer=answered)) for name in names}
        self.clock = Clock()
        self.events: list[Event] = []
        secrets = self.standins["anthropic"].secrets() | {"other": "key-of-another", "openai_compatible_api_key": "key"}
        self.place = next(iter(PLACES))
        self.live = stack.enter_context(
            MemoryRouter(self.rows(), secrets=secrets, clock=self.clock, observers=(self.events.append,))
        )
        self.model = self.live.chat_model()

    @property
    def primary(self) -> StandIn:
        """The stand-in of the place in force."""
        return self.standins[PLACES[self.place][0]]

    def rows(self) -> dict[str, Any]:
        """Return the rows of the place in force, with a fallback."""
        _, model, path, enabled = PLACES[self.place]
        held = {"api_base": self.primary.base_url + path, "api_key": {"secret": "other"}}
        return {
            "llm_provider": "litellm" if path else "openai-compatible",
            "llm_model": model,
            "litellm_params": held if path else None,
            "openai_compatible_api_base": self.standins["openai-compatible"].api_base,
            "llm_fallback_config": fallback(self.standins["anthropic"]),
            "litellm_enable": enabled,
            "litellm_num_retries": 0,
            "litellm_allowed_fails": 0,
            "litellm_cooldown_time": COOLDOWN_S,
        }

    def put(self, place: str) -> None:
        """Have *place* be the primary: nothing fails, nothing cools."""
        self.place = place
        self.live.set(**self.rows())
        self.primary.heal()
        self.clock.tick(10 * COOLDOWN_S)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """The one stage of this module."""
    with ExitStack() as stack:
        yield Stage(stack)


@pytest.mark.parametrize("place", PLACES)
def test_every_failure_is_answered_by_the_fallback(stage: Stage, place: str) -> None:
    """Whole and streamed, in turn; what the request is to blame for cools nobody, all else does.

    Each place meets one half, its neighbour the other: the formats are those of the matrix.
    """
    stage.put(place)
    faults = []
    failures = [failure for failure in (*FAILURES, Failure.ERROR_EVENT, Failure.PREAMBLE) if failure not in WAITS]
    for number, failure in enumerate(failures[list(PLACES).index(place) % 2 :: 2]):
        stage.clock.tick(10 * COOLDOWN_S)
        stage.primary.fail(failure)
        before = stage.primary.hits
        told = served(ask(stage.model, METHODS[number % len(METHODS)]))
        hits, cools = stage.primary.hits - before, bool(stage.live.cooldowns.active())
        if (told["role"], hits, cools) != ("fallback", 0 if failure.is_unreachable else 1, failure not in CALLERS):
            faults.append((failure.value, told["role"], hits, cools))
    assert faults == []
    stage.put(place)
    assert served(stage.model.invoke("hi"))["role"] == "primary"


@pytest.mark.parametrize("place", BY_OPENAIS_API)
def test_every_request_is_taken(stage: Stage, place: str) -> None:
    """It has what was asked for, or an event says what was left out, or one typed error says what nobody has there."""
    stage.put(place)
    faults = {}
    for name, feature in FEATURES.items():
        bound = feature.made(stage.model, place)
        before, refused = stage.primary.hits, len(stage.primary.violations)
        stage.events.clear()
        try:
            answer = bound.invoke([*feature.messages])
        except CallError as error:
            if stage.primary.hits > before or "has no built-in tool" not in str(error):
                faults[name] = f"{type(error).__name__}: {error}"[:400]
            continue
        is_told = any(isinstance(event, CallFitted | HistoryFitted) for event in stage.events)
        if stage.primary.violations[refused:] or not (feature.shown(bodies(stage.primary)[-1]) or is_told):
            faults[name] = f"{stage.primary.violations[refused:]}"
        assert isinstance(answer, Sum) or served(answer)["role"] == "primary", name
    assert faults == {}
