"""The same request, whoever answers it: everything that callers ask for, of every provider, in both engines.

As the primary, and by one engine as the fallback of another provider, by the other after a live swap in the middle of a
conversation: each cell is what the documentation's table says, made by `same_table`.
"""

from __future__ import annotations

import contextlib
import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from liverouter.errors import CallError
from liverouter.events import CallFitted, HistoryFitted
from liverouter.testing import Failure, MemoryRouter, Reply, StandIn, ToolCall
from tests.integration.same_table import VARIABLE, filled, markdown
from tests.kit import pages
from tests.kit.dialects import DIALECTS
from tests.kit.everybody import ENGINES, TARGETS, add, named
from tests.kit.features import FEATURES, REASONING, Sum, answered
from tests.kit.standins import bodies, fallback, primary, served
from tests.kit.wires import LITELLM_WARNINGS, NATIVE_WARNINGS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import Runnable

    from liverouter.events import Event
    from tests.kit.dialects import Dialect
    from tests.kit.features import Feature

pytestmark = [*LITELLM_WARNINGS, *NATIVE_WARNINGS]

POSITIONS: Final = ("primary", "fallback", "swapped")
CASES: Final = [(position, target) for position in POSITIONS for target in TARGETS]
Table = dict[str, dict[str, dict[str, dict[str, str]]]]  # feature -> dialect -> engine -> position -> cell


class Stage:
    """All stand-ins, and one live client whose rows are swapped."""

    def __init__(self, stack: ExitStack) -> None:
        """Start everything; *stack* ends it."""
        self.standins = {
            name: stack.enter_context(StandIn(name, answer=answered))
            for name in {d.provider for d in DIALECTS.values()}
        }
        self.events: list[Event] = []
        secrets: dict[str, str] = {}
        for standin in self.standins.values():
            secrets |= standin.secrets()
        first = next(iter(DIALECTS.values()))
        self._rows: dict[str, Any] = {}
        self.base = {"litellm_num_retries": 0, "litellm_allowed_fails": 1000, "llm_fallback_config": None}
        rows = {**self.base, **primary(self.of(first), first.model)}
        self.client = stack.enter_context(MemoryRouter(rows, secrets=secrets, observers=(self.events.append,)))

    def of(self, dialect: Dialect) -> StandIn:
        """Return the stand-in that serves *dialect*."""
        return self.standins[dialect.provider]

    def put(self, first: Dialect, *, then: Dialect | None = None, model: str | None = None, engine: str) -> None:
        """Have *first* be the primary and *then* its fallback, unless they are; *model* is the last one's, if given."""
        rows: dict[str, Any] = {**self.base, "litellm_enable": ENGINES[engine], **primary(self.of(first), first.model)}
        base = {"azure_openai_base_model": model} if model and (then or first).more else {}
        if then is not None:
            rows["llm_fallback_config"] = fallback(self.of(then), model) | {"model": model or then.model} | base
        elif model is not None:
            rows |= {"llm_model": model} | base
        if rows != self._rows:
            self.client.set(**rows)
            self._rows = rows


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """The one stage of this module."""
    with ExitStack() as stack:
        yield Stage(stack)


@pytest.fixture(scope="module")
def table() -> Iterator[Table]:
    """What each cell came to; written as JSON where `same_table` asks for it."""
    measured: Table = {}
    yield measured
    if path := os.environ.get(VARIABLE):
        Path(path).write_text(json.dumps(measured, indent=1), encoding="utf-8")


def asked(position: str, engine: str) -> Mapping[str, Feature]:
    """Return what is asked there: all of a primary, else one half by each engine, in the other position the other."""
    if position == "primary":
        return FEATURES
    half = (position == "swapped") ^ (engine == "native")
    return {name: feature for number, (name, feature) in enumerate(FEATURES.items()) if number % 2 == half}


def other_of(dialect: str, position: str) -> Dialect:
    """Return a dialect of another provider than *dialect*'s, another one in each position."""
    others = [d for d in DIALECTS.values() if d.provider != DIALECTS[dialect].provider]
    return others[(list(DIALECTS).index(dialect) + 2 * POSITIONS.index(position)) % len(others)]


def cell(stage: Stage, dialect: str, feature: Feature, bound: Runnable[Any, Any], messages: list[BaseMessage]) -> str:
    """Call *bound*, and return what became of it: how the provider was told, "left out", or the code of the error.

    Raises:
        AssertionError: the provider refused it, or something was left out in silence.
    """
    standin = stage.of(DIALECTS[dialect])
    before, refused = standin.hits, len(standin.violations)
    stage.events.clear()
    try:
        answer = bound.invoke(messages)
    except CallError as error:
        return refused_cell(stage, error, asked=standin.hits > before)
    assert standin.violations[refused:] == ()
    assert isinstance(answer, Sum) or served(answer)["provider"] == standin.provider
    if shown := feature.shown(bodies(standin)[-1]):
        return shown
    assert any(isinstance(event, CallFitted | HistoryFitted) for event in stage.events), "left out in silence"
    return "left out"


def refused_cell(stage: Stage, error: CallError, *, asked: bool) -> str:
    """Return the cell of a call that ended in *error*; *asked*: its provider was.

    Raises:
        AssertionError: it was, or it is not the one error that says what its API has not.
    """
    deployment = stage.client.generation().snapshot.deployments[-1].id
    told = getattr(error, "causes", {deployment: str(error)})[deployment]
    assert not asked
    assert "has no built-in tool" in told
    return "`LR314`"


def begun(stage: Stage, other: Dialect) -> list[BaseMessage]:
    """Return a conversation that *other* has begun, with all that its model leaves in one."""
    calls = (ToolCall("add", {"a": 1}), ToolCall("add", {"a": 2}))
    stage.of(other).respond(Reply(text="Well.", thinking="hm", tool_calls=calls))
    hi = HumanMessage("hi")
    answer = stage.client.chat_model().bind_tools([add]).invoke([hi], reasoning_effort="low")
    results = [ToolMessage("3", tool_call_id=str(call["id"])) for call in answer.tool_calls]
    return [hi, answer, *results, AIMessage("Three.")]


@pytest.mark.parametrize(("position", "target"), CASES, ids=lambda part: part if isinstance(part, str) else named(part))
def test_request_is_answered_by_whoever_is_asked(
    stage: Stage, table: Table, position: str, target: tuple[str, str]
) -> None:
    """It has what was asked for, or an event says what was left out, or one typed error says what nobody has there."""
    dialect, engine = target
    other = DIALECTS[dialect] if position == "primary" else other_of(dialect, position)
    stage.put(other, engine=engine)
    handle = stage.client.chat_model()
    features = asked(position, engine)
    bound = {name: feature.made(handle, dialect) for name, feature in features.items()}
    history: list[BaseMessage] = []
    if position == "swapped":
        for name, feature in features.items():
            with contextlib.suppress(CallError):
                bound[name].invoke(feature.messages)
        history = begun(stage, other)
    faults: dict[str, str] = {}
    if position == "fallback":
        stage.of(other).fail(Failure.SERVER_ERROR)
    for name, feature in features.items():
        model = REASONING.get(dialect) if name == "reasoning" else None
        if position == "fallback":
            stage.put(other, then=DIALECTS[dialect], model=model, engine=engine)
        else:
            stage.put(DIALECTS[dialect], model=model, engine=engine)
        try:
            found = cell(stage, dialect, feature, bound[name], [*history, *feature.messages])
        except Exception as error:  # noqa: BLE001 - all cells of a target are told at once
            faults[name] = f"{type(error).__name__}: {error}"[:400]
        else:
            table.setdefault(name, {}).setdefault(dialect, {}).setdefault(engine, {})[position] = found
    stage.of(other).heal()
    assert not faults, "\n".join(f"{name}: {fault}" for name, fault in faults.items())


def test_table_shows_what_this_run_measured(table: Table) -> None:
    """The documentation's table is no claim, and one cell holds wherever a deployment stands."""
    cells = [places for row in table.values() for engines in row.values() for places in engines.values()]
    if len(cells) < len(FEATURES) * len(TARGETS) or any(len(places) < 2 for places in cells):
        pytest.skip("needs the whole matrix in this run")
    assert [places for places in cells if len(set(places.values())) > 1] == []
    text = pages.text()
    assert "<!-- measured: same -->" in text
    assert filled(text, markdown(table)) == text, "python -m tests.integration.same_table writes it"
