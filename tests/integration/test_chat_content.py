"""What goes in and out besides text: schemas, tools, media, reasoning, also where the provider changes in between."""

from __future__ import annotations

import asyncio
import base64
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import pytest
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from liverouter.testing import MemoryRouter, Reply, StandIn, ToolCall
from tests.kit.dialects import DIALECTS, MODELS
from tests.kit.standins import bodies, collect, fallback, live, primary, served

if TYPE_CHECKING:
    from liverouter.chat.model import LiveChatModel
    from liverouter.testing import Ask

PLAIN_TOO: Final = [(provider, enabled) for provider in MODELS for enabled in (True, False)]
CLAUDES: Final = [(d.provider, d.model) for d in (DIALECTS["vertex-ai claude"], DIALECTS["snowflake claude"])]
PIXEL: Final = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()


class Person(BaseModel):
    """Somebody."""

    name: str = Field(description="full name")
    age: int


class PersonDict(TypedDict):
    """Somebody."""

    name: str
    age: int


SCHEMAS: Final[dict[str, Any]] = {"pydantic": Person, "typeddict": PersonDict, "json": Person.model_json_schema()}
STRICT: Final = (True, None, False)
METHODS: Final[tuple[Any, ...]] = ("json_schema", "function_calling")


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def is_person(found: Any, kind: str) -> bool:
    """Tell whether *found* is what the schema asks for."""
    return (
        isinstance(found, Person) if kind == "pydantic" else isinstance(found, dict) and set(found) == {"name", "age"}
    )


class TestStructuredOutput:
    @pytest.mark.parametrize(("provider", "enabled"), PLAIN_TOO)
    def test_every_provider_answers_to_a_schema(self, provider: str, *, enabled: bool) -> None:
        """All providers, with litellm and without, answer to a schema given in any form, strict or not."""
        forms = product(SCHEMAS, STRICT) if provider == "openai" else zip(SCHEMAS, STRICT, strict=True)
        with StandIn(provider) as standin, live(standin, litellm_enable=enabled) as client:
            model = client.chat_model()
            for kind, strict in forms:
                for method in METHODS:
                    runnable = model.with_structured_output(SCHEMAS[kind], method=method, strict=strict)
                    assert is_person(runnable.invoke("Who is 7?"), kind), (kind, strict, method)
            assert standin.violations == ()

    @pytest.mark.parametrize(("provider", "name"), CLAUDES)
    def test_claude_on_other_clouds_answers_to_a_schema(self, provider: str, name: str) -> None:
        """So does Claude on Vertex and Snowflake, by a tool call where litellm knows no other way."""
        with StandIn(provider) as standin, live(standin, model=name) as client:
            assert isinstance(client.chat_model().with_structured_output(Person).invoke("Who is 7?"), Person)
            assert standin.violations == ()

    def test_strict_reaches_the_provider_in_its_place(self, openai: StandIn) -> None:
        """`strict` is part of the schema or of the tool, never a parameter of its own, which providers refuse."""
        with live(openai) as client:
            model = client.chat_model()
            model.with_structured_output(Person, strict=True).invoke("Who?")
            model.with_structured_output(Person, method="function_calling", strict=True).invoke("Who?")
            model.bind_tools([add], strict=True).invoke("hi")
        by_schema, by_tool, bound = bodies(openai)
        assert by_schema["response_format"]["json_schema"]["strict"] is True
        assert by_schema["response_format"]["json_schema"]["schema"]["additionalProperties"] is False
        assert by_tool["tools"][0]["function"]["strict"] is True
        assert by_tool["tool_choice"]["function"]["name"] == "Person"
        assert bound["tools"][0]["function"]["strict"] is True
        assert "strict" not in by_schema.keys() | by_tool.keys() | bound.keys()

    @pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
    def test_include_raw_reports_what_does_not_parse(self, openai: StandIn, method: Any) -> None:
        """With `include_raw` a wrong answer is reported beside the message; without, it is raised."""
        openai.respond(*[Reply(text='{"name": 5')] * 2)
        with live(openai) as client:
            model = client.chat_model()
            found = model.with_structured_output(Person, method=method, include_raw=True).invoke("Who?")
            assert isinstance(found["raw"], AIMessage)
            assert found["parsed"] is None
            if method != "function_calling":  # there text is no call, and no error either
                assert isinstance(found["parsing_error"], OutputParserException)
                with pytest.raises(OutputParserException):
                    model.with_structured_output(Person, method=method).invoke("Who?")

    def test_json_mode_promises_json(self, openai: StandIn) -> None:
        """`json_mode` asks for JSON of any shape; `strict` would promise more."""
        openai.respond(Reply(text='{"name": "Ada", "age": 36}'))
        with live(openai) as client:
            model = client.chat_model()
            assert model.with_structured_output(Person, method="json_mode").invoke("JSON!") == Person(
                name="Ada", age=36
            )
            with pytest.raises(ValueError, match="json_mode"):
                model.with_structured_output(Person, method="json_mode", strict=True)
            with pytest.raises(ValueError, match="method"):
                model.with_structured_output(Person, method="guess")  # type: ignore[arg-type]
        assert bodies(openai)[0]["response_format"] == {"type": "json_object"}

    @pytest.mark.parametrize("provider", ["openai", "snowflake-cortex"])
    def test_partial_objects_stream(self, provider: str) -> None:
        """A dict schema streams growing dicts, whether text or a tool call carries it."""
        with StandIn(provider) as standin, live(standin) as client:
            partial = list(client.chat_model().with_structured_output(SCHEMAS["json"]).stream("Who is 7?"))
        assert len(partial) > 1
        assert partial[-1] == {"name": "name", "age": 7}

    def test_bound_once_it_follows_every_swap(self, anthropic: StandIn, openai: StandIn) -> None:
        """A structured runnable built at import time answers on every later provider, native or by tool call."""
        with StandIn("snowflake-cortex") as snowflake, StandIn("vertex-ai") as vertex:
            standins = (anthropic, snowflake, openai, vertex, anthropic)
            keys: dict[str, str] = {}
            for standin in standins:
                keys |= standin.secrets()
            with MemoryRouter(primary(anthropic), secrets=keys) as client:
                runnable = client.chat_model().with_structured_output(Person)
                for standin in standins:
                    for enabled in (True, False):
                        client.set(**primary(standin), litellm_enable=enabled)
                        assert isinstance(runnable.invoke("Who is 7?"), Person), (standin, enabled)

    def test_plain_json_without_a_schema_is_refused_clearly(self, anthropic: StandIn) -> None:
        """Where the provider's class promises JSON only to a schema, the error says what to do."""
        with live(anthropic, litellm_enable=False) as client, pytest.raises(ValueError, match="with_structured_output"):
            client.chat_model().invoke("hi", response_format={"type": "json_object"})

    def test_response_format_of_the_caller_is_sent(self, openai: StandIn) -> None:
        """A raw `response_format` goes through as it is."""
        form = {"type": "json_schema", "json_schema": {"name": "p", "schema": SCHEMAS["json"], "strict": False}}
        with live(openai) as client:
            client.chat_model().invoke("hi", response_format=form)
        assert bodies(openai)[0]["response_format"] == form


class TestTools:
    @pytest.mark.parametrize(("provider", "enabled"), PLAIN_TOO)
    def test_tool_choice_means_the_same_everywhere(self, provider: str, *, enabled: bool) -> None:
        """Every spelling of a forced tool forces it, at every provider, with litellm and without."""
        with StandIn(provider) as standin, live(standin, litellm_enable=enabled) as client:
            for choice in ("any", "required", True, "add", "auto", None):
                message = client.chat_model().bind_tools([add], tool_choice=choice).invoke("Say hello.")
                assert bool(message.tool_calls) == (choice not in ("auto", None)), choice
            assert standin.violations == ()

    def test_built_in_tools_pass_as_they_are(self, anthropic: StandIn) -> None:
        """A provider's own tool is not taken for a function."""
        search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}
        with live(anthropic) as client:
            client.chat_model().bind_tools([search, add]).invoke("hi")
        sent = bodies(anthropic)[0]["tools"]
        assert {"web_search_20250305"} <= {entry.get("type") for entry in sent}
        assert {entry["name"] for entry in sent} == {"web_search", "add"}

    def test_traces_and_bindings_show_tools_as_data(self, openai: StandIn) -> None:
        """A binding's tools are what ChatOpenAI's are: dictionaries, with the caller's own objects beside."""
        with live(openai) as client:
            bound: Any = client.chat_model().bind_tools([add])
        assert [entry["function"]["name"] for entry in bound.kwargs["tools"]] == ["add"]
        assert bound.kwargs["tools"].raw == (add,)

    def test_same_agentless_loop_runs_over_all_providers(self, anthropic: StandIn, openai: StandIn) -> None:
        """A tool call of one provider is answered at the next, in its format, through every provider."""
        with StandIn("vertex-ai") as vertex, StandIn("snowflake-cortex") as snowflake, StandIn("azure-openai") as azure:
            standins = (anthropic, openai, vertex, azure, snowflake)
            keys: dict[str, str] = {}
            for standin in standins:
                keys |= standin.secrets()
            with MemoryRouter(primary(anthropic), secrets=keys) as client:
                model = client.chat_model().bind_tools([add])
                history: list[BaseMessage] = [SystemMessage("You add."), HumanMessage("add 2")]
                for standin in (*standins, *standins):
                    client.set(**primary(standin))
                    message = model.invoke(history)
                    history.append(message)
                    history += [add.invoke(call) for call in message.tool_calls]
                    if not message.tool_calls:
                        history.append(HumanMessage("add 3"))
            assert [standin.violations for standin in standins] == [()] * 5
            assert sum(isinstance(message, ToolMessage) for message in history) == 5


class TestMedia:
    @pytest.mark.parametrize(("provider", "enabled"), [p for p in PLAIN_TOO if p[0] != "snowflake-cortex"])
    def test_image_in_any_notation_reaches_any_provider(self, provider: str, *, enabled: bool) -> None:
        """LangChain's, OpenAI's and Anthropic's notation of an image all arrive."""
        notations: tuple[dict[str, Any], ...] = (
            {"type": "image", "base64": PIXEL, "mime_type": "image/png"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
        )
        with StandIn(provider) as standin, live(standin, litellm_enable=enabled) as client:
            for block in notations:
                client.chat_model().invoke([HumanMessage(content=[{"type": "text", "text": "What is it?"}, block])])
                assert PIXEL in repr(bodies(standin)[-1]), block
            assert standin.violations == ()

    def test_anthropics_tool_results_become_messages(self, openai: StandIn) -> None:
        """A history in Anthropic's notation is understood by another provider."""
        history = [
            HumanMessage("add 2"),
            AIMessage("", tool_calls=[{"name": "add", "args": {"a": 1, "b": 1}, "id": "call_1"}]),
            HumanMessage(
                [
                    {"type": "tool_result", "tool_use_id": "call_1", "content": [{"type": "text", "text": "2"}]},
                    {"type": "text", "text": "And now?"},
                ]
            ),
        ]
        with live(openai) as client:
            client.chat_model().invoke(history)
            assert openai.violations == ()
        roles = ["user", "assistant", "tool", "user"]
        assert [message["role"] for message in bodies(openai)[0]["messages"]] == roles
        # Claude at Snowflake without litellm is asked by OpenAI's class, whoever made the model
        with (
            StandIn("snowflake-cortex") as cortex,
            live(cortex, model=DIALECTS["snowflake claude"].model, litellm_enable=False) as client,
        ):
            client.chat_model().invoke(history)
            assert cortex.violations == ()
            assert [message["role"] for message in bodies(cortex)[0]["messages"]] == roles


def _thinks(ask: Ask) -> Reply:
    if ask.tools and not ask.tool_results:
        return Reply(tool_calls=(ToolCall("add", {"a": 1, "b": 2}),), thinking="I ponder.")
    return Reply(text="done", thinking="I think.")


class TestReasoning:
    def test_reasoning_is_shown_in_content_blocks(self, anthropic: StandIn) -> None:
        """A model's reasoning is a standard block, whole and streamed."""
        anthropic.respond(*[Reply(text="done", thinking="I think.")] * 2)
        thinking: dict[str, Any] = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2000}
        with live(anthropic) as client:
            model = client.chat_model()
            for message in (model.invoke("hi", **thinking), asyncio.run(collect(model, **thinking))):
                kinds = [block["type"] for block in message.content_blocks]
                assert kinds == ["reasoning", "text"]

    def test_signed_reasoning_goes_back_where_it_came_from(self, anthropic: StandIn) -> None:
        """With Claude alone its signed thinking is sent back, as it wants; the stand-in checks the signature."""
        thinking: dict[str, Any] = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2000}
        with live(anthropic) as client:
            model = client.chat_model().bind_tools([add], **thinking)
            anthropic.respond(_thinks, _thinks)
            history: list[BaseMessage] = [HumanMessage("go")]
            message = model.invoke(history)
            history += [message, add.invoke(message.tool_calls[0])]
            model.invoke(history)
            assert anthropic.violations == ()
        blocks = bodies(anthropic)[-1]["messages"][1]["content"]
        assert [block["type"] for block in blocks] == ["thinking", "tool_use"]

    def test_one_conversation_survives_every_change_of_provider(self) -> None:
        """Reasoning and tool calls of each model, with litellm and without, never break another model's call.

        Each is asked twice, once whole and once streamed, the second time with a part of every other's conversation.
        """
        standins = {provider: StandIn(provider, answer=_thinks).start() for provider in MODELS}
        try:
            self.walk(standins)
            assert [standin.violations for standin in standins.values()] == [()] * len(standins)
        finally:
            for standin in standins.values():
                standin.stop()

    @staticmethod
    def walk(standins: dict[str, StandIn]) -> None:
        """Go through every config and back, in one conversation."""
        anthropic, openai, vertex = standins["anthropic"], standins["openai"], standins["vertex-ai"]
        configs = [
            {**primary(standin), "litellm_enable": enabled, "llm_fallback_config": None}
            for standin in (anthropic, openai, vertex)
            for enabled in (True, False)
        ]
        configs.append({**primary(anthropic), "litellm_enable": True, "llm_fallback_config": fallback(openai)})
        configs.append({**primary(vertex, "claude-sonnet-4-6"), "litellm_enable": False, "llm_fallback_config": None})
        keys: dict[str, str] = {}
        for standin in standins.values():
            keys |= standin.secrets()
        with MemoryRouter(configs[0], secrets=keys) as client:
            model: Any = client.chat_model().bind_tools([add])

            def call(turns: list[list[BaseMessage]], *, stream: bool) -> AIMessage:
                history = [message for turn in turns for message in turn]
                if not stream:
                    return model.invoke(history)  # type: ignore[no-any-return]
                first, *others = model.stream(history)
                return sum(others, first)  # type: ignore[no-any-return]

            turns: list[list[BaseMessage]] = []
            for number, config in enumerate((*configs, *reversed(configs))):
                stream = number % 2 == 1
                client.set(**config)
                turns.append([HumanMessage("go")])
                message = call(turns, stream=stream)
                turns[-1] += [message, *(add.invoke(found) for found in message.tool_calls)]
                turns[-1].append(call(turns, stream=stream))
                assert served(message)["revision"] == client.generation().snapshot.revision


def test_prompt_cache_markers_reach_claude(anthropic: StandIn) -> None:
    """The system prompt and the newest message carry cache marks, which no middleware can set through a Router."""
    with live(anthropic) as client:
        model: LiveChatModel = client.chat_model()
        model.invoke([SystemMessage("You are kind. " * 50), HumanMessage("hi")])
    body = bodies(anthropic)[0]
    assert "cache_control" in body["system"][-1]
    assert "cache_control" in body["messages"][-1]["content"][-1]
