"""Providers beside the five: servers that speak OpenAI's API, by both engines, and what litellm alone knows."""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest
from langchain_core.exceptions import ModelError
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

from liverouter.errors import CallError, ConfigError
from liverouter.providers import PROVIDERS
from liverouter.routing.clock import Clock
from liverouter.routing.engines import native
from liverouter.routing.guard import guarded
from liverouter.testing import Failure, MemoryRouter, StandIn
from tests.kit.dialects import COMPATIBLE
from tests.kit.everybody import add
from tests.kit.features import Sum
from tests.kit.hostile import Hostile
from tests.kit.standins import bodies, collect, fallback, primary, served
from tests.kit.traffic import WIRETAP
from tests.kit.wires import LITELLM_WARNINGS, NATIVE_WARNINGS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.messages import BaseMessage

pytestmark = [*LITELLM_WARNINGS, *NATIVE_WARNINGS]

KEY: Final = "key-of-another-provider"
REFERENCE: Final = {"api_key": {"secret": "other"}}
ENGINES: Final = {"litellm": True, "native": False}
# litellm's name of a model -> the stand-in that speaks its API, the path of its base, and where its key stands
MODELS: Final = {
    "openrouter/meta-llama/llama-3.3-70b-instruct": ("openai-compatible", "/v1", "authorization"),
    "groq/llama-3.3-70b-versatile": ("openai-compatible", "/v1", "authorization"),
    "openai/whatever-the-gateway-has": ("openai-compatible", "/v1", "authorization"),
    "gemini/gemini-2.5-flash": ("vertex-ai", "/v1beta", "x-goog-api-key"),
    "anthropic/claude-sonnet-4-6": ("anthropic", "", "x-api-key"),
}


class Stage:
    """The stand-ins, and one live client whose rows are swapped."""

    def __init__(self, stack: ExitStack) -> None:
        """Start everything; *stack* ends it."""
        names = ("openai-compatible", "openai", "anthropic", "vertex-ai")
        self.standins = {name: stack.enter_context(StandIn(name)) for name in names}
        self.second = stack.enter_context(StandIn("openai-compatible", accept_keys=["second-key"]))
        secrets = {"other": KEY, "second": "second-key", "aws_id": "AKID-of-the-row", "aws_secret": "secret-of-the-row"}
        secrets |= self.standins["openai"].secrets() | self.standins["anthropic"].secrets()
        self._base = {
            "llm_fallback_config": None,
            "llm_params": None,
            "llm_max_tokens": None,
            "litellm_num_retries": 0,
            "litellm_cooldown_time": 0,
            "litellm_timeout": 60,
            "litellm_enable": True,
        }
        rows = {**self._base, **primary(self.compatible)}
        self.live = stack.enter_context(MemoryRouter(rows, secrets=secrets))
        self.model = self.live.chat_model()

    @property
    def compatible(self) -> StandIn:
        """The server that speaks OpenAI's API."""
        return self.standins["openai-compatible"]

    def put(self, rows: dict[str, Any]) -> None:
        """Have *rows* be all there is; nothing fails, nothing is remembered."""
        for standin in (*self.standins.values(), self.second):
            standin.heal()
            standin.forget()
        self.live.set(**self._base | rows)

    def by_litellm(self, model: str, **params: Any) -> tuple[StandIn, dict[str, Any]]:
        """Return the stand-in that answers as *model*, and the rows that have litellm ask it."""
        name, path, _ = MODELS[model]
        standin = self.standins[name]
        held = {"api_base": standin.base_url + path, **REFERENCE, **params}
        return standin, {"llm_provider": "litellm", "llm_model": model, "litellm_params": held}


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """The one stage of this module."""
    with ExitStack() as stack:
        yield Stage(stack)


@pytest.mark.parametrize("engine", ENGINES)
class TestServersLikeOpenAIs:
    def test_answers_whole_and_in_pieces(self, stage: Stage, engine: str) -> None:
        """Sync and async; tokens are told, what it cost nobody knows, and OpenAI's own place is free."""
        stage.put(primary(stage.compatible) | {"litellm_enable": ENGINES[engine], "llm_max_tokens": 50})
        answers = [stage.model.invoke("hi"), asyncio.run(stage.model.ainvoke("hi")), asyncio.run(collect(stage.model))]
        for answer in answers:
            told = served(answer)
            assert answer.text == f"{COMPATIBLE.model} says: hi"
            assert (told["provider"], told["engine"], told["cost_usd"]) == ("openai-compatible", engine, None)
            assert answer.usage_metadata["output_tokens"] > 0  # type: ignore[attr-defined]  # an AIMessage
        assert all(body["max_tokens"] == 50 for body in bodies(stage.compatible))
        assert stage.compatible.violations == ()

    def test_key_is_sent_where_there_is_one_and_none_else(
        self, stage: Stage, engine: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """None of the environment's either, which the libraries would take."""
        monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
        entry = {"provider": "openai-compatible", "model": "m", "api_base": stage.second.api_base}
        rows = primary(stage.compatible) | {"litellm_enable": ENGINES[engine]}
        stage.put(rows | {"llm_fallback_config": entry | {"api_key": {"secret": "second"}}})
        stage.model.invoke("hi")
        stage.compatible.fail(Failure.SERVER_ERROR)
        assert served(stage.model.invoke("hi"))["role"] == "fallback"
        assert "authorization" not in stage.compatible.requests[0].headers
        assert stage.second.requests[0].headers["authorization"] == "Bearer second-key"

    def test_parameters_are_sent_as_they_are_said(self, stage: Stage, engine: str) -> None:
        """What the server takes nobody knows: neither a range nor a model's list cuts it."""
        params = {"top_p": 0.5, "seed": 7, "reasoning_effort": "low", "extra_body": {"min_p": 0.1}}
        stage.put(primary(stage.compatible) | {"litellm_enable": ENGINES[engine], "llm_params": params})
        stage.model.bind(top_k=5, stop=["END"], temperature=1.7).invoke("hi")
        (body,) = bodies(stage.compatible)
        wanted = {"top_p": 0.5, "seed": 7, "reasoning_effort": "low", "min_p": 0.1, "top_k": 5, "temperature": 1.7}
        assert {name: body[name] for name in wanted} == wanted
        assert body["stop"] == ["END"]
        assert stage.compatible.violations == ()

    def test_conversations_are_what_chat_templates_take(self, stage: Stage, engine: str) -> None:
        """One system message, in front and called so; turns alternate."""
        stage.put(primary(stage.compatible, "gpt-5") | {"litellm_enable": ENGINES[engine]})
        said: list[BaseMessage] = [HumanMessage("a"), HumanMessage("b"), SystemMessage("be brief"), AIMessage("c")]
        stage.model.invoke([*said, HumanMessage("d")])
        roles = [message["role"] for message in bodies(stage.compatible)[0]["messages"]]
        assert roles == ["system", "user", "assistant", "user"]
        assert stage.compatible.violations == ()

    def test_tools_and_schemas_are_asked_for(self, stage: Stage, engine: str) -> None:
        """As of OpenAI's API."""
        stage.put(primary(stage.compatible) | {"litellm_enable": ENGINES[engine]})
        answer = stage.model.bind_tools([add], tool_choice="any").invoke("1 and 2")
        assert [call["name"] for call in answer.tool_calls] == ["add"]
        assert isinstance(stage.model.with_structured_output(Sum).invoke("1 and 2"), Sum)
        assert stage.compatible.violations == ()

    def test_several_stand_beside_openai(self, stage: Stage, engine: str) -> None:
        """Each with a base and a key of its own; OpenAI's key goes to OpenAI alone."""
        rows = primary(stage.standins["openai"]) | {"litellm_enable": ENGINES[engine]}
        entries = [
            {"provider": "openai-compatible", "model": "a", "api_base": stage.compatible.api_base},
            {"provider": "openai-compatible", "model": "b", "api_base": stage.second.api_base},
        ]
        entries[1]["api_key"] = {"secret": "second"}  # type: ignore[assignment]  # a reference
        stage.put(rows | {"llm_fallback_config": entries})
        told = []
        for standin in (None, stage.standins["openai"], stage.compatible):
            if standin is not None:
                standin.fail(Failure.SERVER_ERROR)
            told.append(served(stage.model.invoke("hi"))["model"])
        assert told == ["gpt-4o", "a", "b"]
        keys = [{r.headers.get("authorization") for r in s.requests} for s in (stage.compatible, stage.second)]
        assert keys == [{None}, {"Bearer second-key"}]


class TestByLitellm:
    @pytest.mark.parametrize("model", MODELS)
    def test_model_is_asked_in_its_own_words(self, stage: Stage, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whole and streamed, over the wire of whoever serves it, with the row's key.

        What litellm has for the whole process, and the application may have made, is not asked: nothing guards that.
        """
        import litellm

        monkeypatch.setitem(vars(litellm), "module_level_aclient", object())
        standin, rows = stage.by_litellm(model)
        stage.put(rows | {"llm_max_tokens": 50, "llm_temperature": 0.5})
        answers = [stage.model.invoke("hi"), asyncio.run(collect(stage.model))]
        for answer in answers:
            told = served(answer)
            assert answer.text.endswith("says: hi")
            assert (told["provider"], told["model"], told["engine"]) == ("litellm", model, "litellm")
        assert all(KEY in request.headers[MODELS[model][2]] for request in standin.requests)
        assert standin.violations == ()
        stage.live.set(llm_temperature=None)

    @pytest.mark.parametrize("model", MODELS)
    def test_failure_is_asked_once_and_another_answers(self, stage: Stage, model: str) -> None:
        """Litellm tries nothing again by itself."""
        standin, rows = stage.by_litellm(model)
        other = stage.standins["openai"]
        stage.put(rows | {"llm_fallback_config": fallback(other)})
        standin.fail(Failure.SERVER_ERROR)
        assert served(stage.model.invoke("hi"))["provider"] == "openai"
        assert standin.hits == 1

    @pytest.mark.parametrize("model", ["gemini/gemini-2.5-flash", "groq/llama-3.3-70b-versatile"])
    def test_cut_stream_is_no_answer(self, stage: Stage, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever litellm makes of its end; and it fetches no tokenizer to count what came."""
        standin, rows = stage.by_litellm(model)
        stage.put(rows)
        standin.fail(Failure.EOF)
        looked_up: list[Any] = []
        look_up = socket.getaddrinfo

        def watched(*args: Any, **kwargs: Any) -> Any:
            looked_up.append(args[0])
            return look_up(*args, **kwargs)

        monkeypatch.setattr(socket, "getaddrinfo", watched)
        with pytest.raises(Exception, match=r"without its finish|ended"):
            asyncio.run(collect(stage.model))
        assert set(looked_up) <= {"127.0.0.1"}

    def test_tools_are_called(self, stage: Stage) -> None:
        """By an API that is not OpenAI's."""
        standin, rows = stage.by_litellm("gemini/gemini-2.5-flash")
        stage.put(rows)
        answer = stage.model.bind_tools([add], tool_choice="any").invoke("1 and 2")
        assert [call["name"] for call in answer.tool_calls] == ["add"]
        assert standin.violations == ()

    def test_bedrock_is_signed_by_the_row_s_keys(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        """And by none that the process would have for other things."""
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID-of-the-machine")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-machine")
        monkeypatch.setenv("AWS_BEDROCK_RUNTIME_ENDPOINT", "http://127.0.0.1:9")
        held = {
            "api_base": stage.compatible.base_url,
            "aws_region_name": "eu-west-1",
            "aws_access_key_id": {"secret": "aws_id"},
            "aws_secret_access_key": {"secret": "aws_secret"},
        }
        stage.put(
            {"llm_provider": "litellm", "llm_model": "bedrock/meta.llama3-8b-instruct-v1:0", "litellm_params": held}
        )
        (chat,) = stage.live.generation().chats.values()
        assert "of-the-row" not in repr(chat)  # which traces may show
        with pytest.raises(Exception, match=r"404|POST"):
            stage.model.invoke("hi")  # there is no stand-in for its API
        assert len(WIRETAP.take()) == 2  # a header of AWS's, and a path of its API
        (request,) = stage.compatible.requests
        assert request.path.startswith("/model/meta.llama3-8b-instruct-v1:0/")
        assert "Credential=AKID-of-the-row/" in request.headers["authorization"]
        assert "/eu-west-1/bedrock/" in request.headers["authorization"]

    def test_bedrock_without_its_package_is_told_when_it_is_built(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A fallback is left out, a primary rejected; not at the first call, by litellm."""
        monkeypatch.setitem(sys.modules, "boto3", None)
        _, rows = stage.by_litellm("groq/llama-3.3-70b-versatile")
        held = {
            "api_base": stage.compatible.base_url,
            "aws_region_name": "eu-west-1",
            "api_key": {"secret": "aws_id"},
        }
        entry = {"provider": "litellm", "model": "bedrock/m", "litellm_params": held}
        stage.put(rows | {"llm_fallback_config": entry})
        assert len(stage.live.generation().chats) == 1
        assert served(stage.model.invoke("hi"))["role"] == "primary"
        with pytest.raises(ConfigError, match=r"litellm/bedrock/m needs the package 'boto3'.* pip install 'boto3'"):
            stage.put({"llm_provider": "litellm", "llm_model": "bedrock/m", "litellm_params": held})

    def test_key_of_the_environment_stays_there(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        """A row without a key sends none, though litellm would find one."""
        monkeypatch.setenv("GROQ_API_KEY", "gsk-of-the-environment")
        _, rows = stage.by_litellm("groq/llama-3.3-70b-versatile")
        del rows["litellm_params"]["api_key"]
        stage.put(rows)
        assert stage.model.invoke("hi").text.endswith("says: hi")
        assert "authorization" not in stage.compatible.requests[0].headers

    def test_every_vendor_is_asked_at_its_base_alone(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whole and in pieces, by the guarded clients, whatever the environment says; most speak OpenAI's API."""
        import litellm

        known = [provider.value for provider in litellm.LlmProviders]
        stage.put(primary(stage.compatible))
        base, spec = stage.compatible.api_base, PROVIDERS["litellm"]
        vendors = [v for v in known if v not in spec.vendors and spec.unfit(f"{v}/m", {"api_base": base}, ()) is None]
        with Hostile() as other:
            for vendor in vendors:
                variable = vendor.upper().replace("-", "_")
                for end, value in (("API_KEY", "canary"), ("API_BASE", other.origin), ("BASE_URL", other.origin)):
                    monkeypatch.setenv(f"{variable}_{end}", value)
            answered, sent = 0, []
            for held in ({"api_base": base}, {"api_base": base, **REFERENCE}):
                half = vendors[::2] if len(held) == 1 else vendors[1::2]
                entries = {
                    f"llm:v{i}": {"provider": "litellm", "model": f"{vendor}/m", "litellm_params": held}
                    for i, vendor in enumerate(half)
                }
                stage.compatible.forget()
                kept = set(litellm.in_memory_llm_clients_cache.cache_dict)
                with MemoryRouter(primary(stage.compatible) | entries, secrets={"other": KEY}) as live:
                    for i in range(len(half)):
                        model = live.chat_model(f"v{i}")
                        with suppress(ModelError, CallError):  # with another path, or none of OpenAI's API
                            answered += bool(model.invoke("hi").text if i % 2 else [*model.stream("hi")])
                assert set(litellm.in_memory_llm_clients_cache.cache_dict) == kept, (
                    "closed with the loop that they are for"
                )
                sent += [request.headers for request in stage.compatible.requests]
            assert other.heads == []
        assert answered > len(vendors) / 2
        assert {headers["accept-encoding"] for headers in sent} == {"identity"}
        assert "canary" not in str(sent)
        assert not any("a secret of" in line for line in WIRETAP.take())  # else headers and paths of their own

    def test_request_goes_to_its_deployment_s_origin_alone(self) -> None:
        """Wherever a library would send it: nothing leaves, and the error says so."""
        asked: list[str] = []

        def answer(request: httpx.Request) -> httpx.Response:
            asked.append(str(request.url))
            return httpx.Response(200, json={})

        async def ask() -> list[httpx.Response]:
            client = guarded(httpx.AsyncClient(transport=httpx.MockTransport(answer)))
            clock = Clock(5.0, origin="https://openrouter.ai")
            urls = (
                "https://openrouter.ai/api/v1",
                "https://evil.example/v1",
                "http://openrouter.ai/",
                "https://openrouter.ai:8443/",
            )
            found = [await clock.wait(client.get(url)) for url in urls]
            await clock.close()
            return found

        allowed, *refused = asyncio.run(ask())
        assert allowed.status_code == 200
        assert {response.status_code for response in refused} == {404}
        assert "nothing was sent" in refused[0].text
        assert asked == ["https://openrouter.ai/api/v1"]

    def test_unknown_vendor_is_a_problem_of_the_rows(self, stage: Stage) -> None:
        """It is told, and the former config serves on."""
        stage.put(primary(stage.compatible))
        held = {"api_base": stage.compatible.api_base, **REFERENCE}
        with pytest.raises(ConfigError) as raised:
            stage.live.set(llm_provider="litellm", llm_model="opnrouter/x", litellm_params=held)
        assert raised.value.problems[0].code == "LR118"
        stage.put(primary(stage.compatible))
        assert stage.model.invoke("hi").text


class TestWithoutLitellm:
    def test_primary_is_refused_and_the_former_one_serves(self, stage: Stage) -> None:
        """No class of LangChain's serves it."""
        _, rows = stage.by_litellm("groq/llama-3.3-70b-versatile")
        stage.put(primary(stage.compatible))
        with pytest.raises(ConfigError) as raised:
            stage.live.set(**rows, litellm_enable=False)
        assert [problem.code for problem in raised.value.problems] == ["LR117"]
        stage.put(primary(stage.compatible))

    def test_fallback_is_left_out_with_a_warning(self, stage: Stage) -> None:
        """The others serve; where litellm is wanted and cannot be used, it is told as well."""
        _, rows = stage.by_litellm("groq/llama-3.3-70b-versatile")
        entry = {"provider": "litellm", "model": rows["llm_model"], "litellm_params": rows["litellm_params"]}
        entries = [entry, fallback(stage.standins["openai"])]
        stage.put(primary(stage.compatible) | {"llm_fallback_config": entries, "litellm_enable": False})
        stage.compatible.fail(Failure.SERVER_ERROR)
        assert served(stage.model.invoke("hi"))["provider"] == "openai"
        stage.put(primary(stage.compatible) | {"llm_fallback_config": entries})
        chats, warnings = native.build(stage.live.generation().snapshot, stage.live.io, None)
        assert len(chats["default"]) == 2
        assert [(problem.code, problem.severity) for problem in warnings] == [("LR117", "warning")]
