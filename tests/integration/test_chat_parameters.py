"""What a caller asks of one call means the same at every provider, with litellm and without, whole and streamed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from pydantic import BaseModel

from liverouter.testing import Reply, StandIn
from tests.kit.dialects import DIALECTS, MODELS
from tests.kit.standins import bodies, collect, live, served

if TYPE_CHECKING:
    from collections.abc import Mapping

    from liverouter.chat.model import LiveChatModel

EVERYWHERE: Final = [(provider, enabled) for provider in MODELS for enabled in (True, False)]
SEVERAL: Final = [pair for pair in EVERYWHERE if pair[0] in ("openai", "azure-openai", "vertex-ai")]
NAMES: Final = {  # how dialects call it
    "temperature": ("temperature",),
    "max_tokens": ("max_tokens", "max_completion_tokens", "maxOutputTokens", "max_output_tokens"),
    "stop": ("stop", "stop_sequences", "stopSequences"),
}


class Person(BaseModel):
    """Somebody."""

    name: str
    age: int


def sent(standin: StandIn) -> dict[str, Any]:
    """Return the parameters of the newest request under one name each."""
    body: Mapping[str, Any] = bodies(standin)[-1]
    body = {**body, **body.get("generationConfig", {})}
    found = {name: next((body[key] for key in keys if key in body), None) for name, keys in NAMES.items()}
    return {name: value for name, value in found.items() if value is not None}


@pytest.mark.parametrize(("provider", "enabled"), EVERYWHERE)
def test_every_provider_does_what_the_caller_says(provider: str, *, enabled: bool) -> None:
    """His parameters win over the rows', and each way to an object leads to one."""
    with StandIn(provider) as standin, live(standin, litellm_enable=enabled) as client:
        model = client.chat_model()
        answers_by_every_method(model, standin)
        obeys_a_raw_response_format(model)
        client.set(llm_temperature=0.25, llm_max_tokens=77)
        prefers_the_callers_parameters(model, standin)
        assert standin.violations == ()


def prefers_the_callers_parameters(model: LiveChatModel, standin: StandIn) -> None:
    """Rows serve where the caller says nothing; what he passes or binds wins, in calls and in streams."""
    own: dict[str, Any] = {"temperature": 0.75, "max_tokens": 33, "stop": ["two"]}
    name = MODELS[standin.provider]
    for ask in (model.invoke, lambda text, **given: asyncio.run(collect(model, text, **given))):
        assert ask("one two").content == f"{name} says: one two"
        assert sent(standin) == {"temperature": 0.25, "max_tokens": 77}
        assert ask("one two", **own).content == f"{name} says: one "
        assert sent(standin) == own
    assert model.bind(**own).invoke("one two").content == f"{name} says: one "
    assert sent(standin) == own


def answers_by_every_method(model: LiveChatModel, standin: StandIn) -> None:
    """All three ways to an object work everywhere, and `include_raw` has the message beside it."""
    methods: tuple[Any, ...] = ("json_schema", "function_calling", "json_mode")
    for method in methods:
        if method == "json_mode":  # promises no schema: the prompt says what is wanted, and the model obeys
            standin.respond(Reply(text='{"name": "Ada", "age": 7}'))
        asked = model.with_structured_output(Person, method=method, include_raw=True)
        found = asked.invoke("Who is 7? Answer in JSON.")
        assert isinstance(found["raw"], AIMessage)
        assert served(found["raw"])["provider"] == standin.provider
        assert found["parsing_error"] is None
        assert isinstance(found["parsed"], Person)
        assert found["parsed"].age == 7


def obeys_a_raw_response_format(model: LiveChatModel) -> None:
    """OpenAI's `response_format` with a schema is understood by every provider that answers to schemas."""
    schema = {"name": "Person", "schema": Person.model_json_schema(), "strict": False}
    message = model.invoke("Who is 7?", response_format={"type": "json_schema", "json_schema": schema})
    assert Person.model_validate_json(message.text).age == 7


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("dialect", ["vertex-ai claude", "snowflake claude"])
def test_claude_on_other_clouds_takes_the_same(dialect: str, *, enabled: bool) -> None:
    """Claude's dialects on Vertex and Snowflake obey the caller as well."""
    own: dict[str, Any] = {"temperature": 0.75, "max_tokens": 33, "stop": ["two"]}
    provider, name = DIALECTS[dialect].provider, DIALECTS[dialect].model
    with StandIn(provider) as standin, live(standin, model=name, litellm_enable=enabled) as client:
        assert client.chat_model().invoke("one two", **own).content == f"{name} says: one "
        assert sent(standin) == own
        assert asyncio.run(collect(client.chat_model(), "one two", **own)).content == f"{name} says: one "
        assert sent(standin) == own


@pytest.mark.parametrize(("provider", "enabled"), SEVERAL)
def test_n_gives_several_answers(provider: str, *, enabled: bool) -> None:
    """Where a provider knows `n`, so many answers come, each signed."""
    with StandIn(provider) as standin, live(standin, litellm_enable=enabled) as client:
        generations: list[Any] = client.chat_model().generate([[HumanMessage("hi")]], n=2).generations[0]
    said = f"{MODELS[provider]} says: hi"
    assert [generation.text for generation in generations] == [said, f"{said} (2)"]
    assert {served(generation.message)["provider"] for generation in generations} == {provider}
