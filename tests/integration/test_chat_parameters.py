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
class TestEveryProvider:
    def test_callers_parameters_win_over_the_configured(self, provider: str, *, enabled: bool) -> None:
        """Rows serve where the caller says nothing; what he passes or binds wins, in calls and in streams."""
        own: dict[str, Any] = {"temperature": 0.75, "max_tokens": 33, "stop": ["two"]}
        rows: dict[str, Any] = {"llm_temperature": 0.25, "llm_max_tokens": 77, "litellm_enable": enabled}
        with StandIn(provider) as standin, live(standin, **rows) as client:
            model = client.chat_model()
            for ask in (model.invoke, lambda text, **given: asyncio.run(collect(model, text, **given))):
                assert ask("one two").content == f"{MODELS[provider]} says: one two"
                assert sent(standin) == {"temperature": 0.25, "max_tokens": 77}
                assert ask("one two", **own).content == f"{MODELS[provider]} says: one "
                assert sent(standin) == own
            assert model.bind(**own).invoke("one two").content == f"{MODELS[provider]} says: one "
            assert sent(standin) == own
            assert standin.violations == ()

    @pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
    def test_every_method_gives_the_object_and_the_raw_answer(
        self, provider: str, method: Any, *, enabled: bool
    ) -> None:
        """All three ways to an object work everywhere, and `include_raw` has the message beside it."""
        with StandIn(provider) as standin, live(standin, litellm_enable=enabled) as client:
            for raw in (False, True):
                if method == "json_mode":  # promises no schema: the prompt says what is wanted, and the model obeys
                    standin.respond(Reply(text='{"name": "Ada", "age": 7}'))
                found = (
                    client.chat_model()
                    .with_structured_output(Person, method=method, include_raw=raw)
                    .invoke("Who is 7? Answer in JSON.")
                )
                if raw:
                    assert isinstance(found["raw"], AIMessage)
                    assert served(found["raw"])["provider"] == provider
                    assert found["parsing_error"] is None
                    found = found["parsed"]
                assert isinstance(found, Person)
                assert found.age == 7
            assert standin.violations == ()

    def test_raw_response_format_is_obeyed(self, provider: str, *, enabled: bool) -> None:
        """OpenAI's `response_format` with a schema is understood by every provider that answers to schemas."""
        form = {
            "type": "json_schema",
            "json_schema": {"name": "Person", "schema": Person.model_json_schema(), "strict": False},
        }
        with StandIn(provider) as standin, live(standin, litellm_enable=enabled) as client:
            message = client.chat_model().invoke("Who is 7?", response_format=form)
            assert Person.model_validate_json(message.text).age == 7
            assert standin.violations == ()


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
