"""The handle is a Runnable, a type and a value as any chat model is: wrapped, copied, pickled, read for its hints."""

from __future__ import annotations

import asyncio
import copy
import inspect
import pickle
import sys
import threading
import typing
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_core.runnables import ConfigurableField
from langchain_core.tracers.context import collect_runs

import liverouter
from liverouter.chat.model import LiveChatModel
from liverouter.chat.profile import told_to_tracers
from liverouter.loops.green import refuse_green_threads
from liverouter.testing import Reply, StandIn, ToolCall
from tests.kit.standins import bodies, live, served
from tests.kit.wires import WEATHER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from liverouter.testing import MemoryRouter


@pytest.fixture
def client(openai: StandIn) -> Iterator[MemoryRouter]:
    """Return a client on OpenAI in the native engine: what is looked at here is the same in both."""
    with live(openai, litellm_enable=False, litellm_num_retries=1) as entered:
        yield entered


IMAGE = "data:image/png;base64,iVBORw0KGgo="
MESSAGES: list[BaseMessage] = [
    HumanMessage(""),
    HumanMessage([]),
    HumanMessage(["a text", ""]),
    HumanMessage([{"type": "image_url", "image_url": {"url": "https://example.com/x.png"}}]),
    HumanMessage([{"type": "image_url", "image_url": {"url": IMAGE, "detail": "high"}}]),
    HumanMessage([{"type": "image_url", "image_url": IMAGE}]),
    HumanMessage([{"type": "image", "base64": "iVBORw0KGgo=", "mime_type": "image/png"}]),
    HumanMessage([{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}]),
    HumanMessage([{"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "some words"}}]),
    HumanMessage([{"type": "file", "base64": "JVBERi0=", "mime_type": "application/pdf", "filename": "x.pdf"}]),
    HumanMessage([{"type": "audio", "base64": "AAAA", "mime_type": "audio/wav"}]),
    HumanMessage([{"type": "tool_result", "tool_use_id": "call_1", "content": [{"type": "text", "text": "3"}]}]),
    AIMessage(""),
    AIMessage("", tool_calls=[{"name": "add", "args": {"a": 1}, "id": "call_1"}]),
    AIMessage("", invalid_tool_calls=[{"name": "add", "args": "{", "id": "call_1", "error": None}]),
    AIMessage([{"type": "thinking", "thinking": "hm", "signature": "x"}, {"type": "text", "text": "hello"}]),
    AIMessage([{"type": "reasoning", "id": "rs_1", "summary": []}]),
    AIMessage([{"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "x"}}]),
    AIMessage([{"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": [{"type": "web_search_result"}]}]),
    AIMessage([{"type": "executable_code", "executable_code": "print()"}, {"type": "refusal", "refusal": "no"}]),
    AIMessage([{"type": "non_standard", "value": {"x": object()}}]),
    AIMessage([{"no": "type"}]),
    ToolMessage("3", tool_call_id="call_1"),
    ToolMessage([{"type": "image", "base64": "iVBORw0KGgo=", "mime_type": "image/png"}], tool_call_id="call_1"),
    ToolMessage([], tool_call_id=""),
    SystemMessage([{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}]),
    ChatMessage(content="hello", role="developer"),
    FunctionMessage(content="3", name="add"),
]

COPIES: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "model_copy": lambda model: model.model_copy(),
    "model_copy deep": lambda model: model.model_copy(deep=True),
    "model_copy of itself": lambda model: model.model_copy(update={"stop": ["never"]}, deep=True),
    "in a list": lambda model: copy.deepcopy([model])[0],
}


class TestCopies:
    @pytest.mark.parametrize("make", COPIES.values(), ids=COPIES)
    def test_copy_has_parameters_of_its_own_on_the_same_client(
        self, client: MemoryRouter, openai: StandIn, make: Callable[[LiveChatModel], LiveChatModel]
    ) -> None:
        """What is set on a copy changes no other handle; both follow the rows."""
        model = LiveChatModel(source=client, temperature=0.5, stop=["END"])
        made = make(model)
        assert made is not model
        assert made.source is client
        made.temperature, made.max_tokens, made.profile = 0.125, 7, {"max_input_tokens": 3}
        assert (model.temperature, model.max_tokens) == (0.5, None)
        assert model.profile != made.profile
        client.set(llm_model="gpt-4.1")
        for handle, temperature in ((made, 0.125), (model, 0.5)):
            assert served(handle.invoke("hi"))["model"] == "gpt-4.1"
            assert bodies(openai)[-1]["temperature"] == temperature

    def test_deep_copy_shares_no_list(self, client: MemoryRouter) -> None:
        """Also what is changed in place stays where it is."""
        model = LiveChatModel(source=client, stop=["END"], tags=["one"])
        made = copy.deepcopy(model)
        made.stop.append("STOP")  # type: ignore[union-attr]  # given above
        made.tags.append("two")  # type: ignore[union-attr]  # the same
        assert (model.stop, model.tags) == (["END"], ["one"])

    def test_deep_copy_shares_what_is_no_parameter(self, client: MemoryRouter) -> None:
        """A cache and a rate limiter hold locks, and are there to be shared."""
        model = LiveChatModel(
            source=client, cache=InMemoryCache(), rate_limiter=InMemoryRateLimiter(requests_per_second=1000)
        )
        made = copy.deepcopy(model)
        assert made.cache is model.cache
        assert made.rate_limiter is model.rate_limiter

    def test_default_handle_is_not_changed_by_a_copy(self, client: MemoryRouter) -> None:
        """The process-wide handle is everybody's."""
        model = liverouter.get_chat_model()
        copy.deepcopy(model).temperature = 0.25
        assert liverouter.get_chat_model().temperature is None
        assert client.chat_model() == model

    def test_what_was_set_on_a_copy_is_pickled(self, client: MemoryRouter) -> None:
        """Also what is live by default: the limit and the profile."""
        made = copy.deepcopy(LiveChatModel(source=client, restore=liverouter.get_chat_model))
        made.temperature, made.max_tokens = 0.25, 9
        restored = pickle.loads(pickle.dumps(made))  # noqa: S301 - our own
        assert (restored.source, restored.temperature, restored.max_tokens) == (client, 0.25, 9)


class TestRunnable:
    def test_with_fallbacks_binds_tools(self, client: MemoryRouter, openai: StandIn) -> None:
        """LangChain reads the method's annotations to see that it makes a Runnable."""
        with StandIn("anthropic") as other, live(other, litellm_enable=False) as spare:
            model = client.chat_model().with_fallbacks([spare.chat_model()])
            bound = model.bind_tools([WEATHER])
            openai.fail("401")
            other.respond(Reply(tool_calls=(ToolCall("get_weather", {"city": "Paris"}),)))
            assert bound.invoke("hi").tool_calls[0]["name"] == "get_weather"

    def test_with_retry_asks_again(self, client: MemoryRouter, openai: StandIn) -> None:
        """What may pass is tried again."""
        openai.fail("503", times=1)
        model = client.chat_model().with_retry(stop_after_attempt=2, wait_exponential_jitter=False)
        assert model.invoke("hi").content == "gpt-4o says: hi"

    def test_fields_and_alternatives_are_configurable(self, client: MemoryRouter, openai: StandIn) -> None:
        """A config chooses parameters and models per call, and changes neither handle."""
        model = client.chat_model()
        chosen = model.configurable_fields(
            temperature=ConfigurableField(id="heat"), max_tokens=ConfigurableField(id="limit")
        ).configurable_alternatives(ConfigurableField(id="who"), cold=model.bind(temperature=0.0))
        chosen.with_config(configurable={"heat": 0.125, "limit": 50}).invoke("hi")
        chosen.invoke("hi", {"configurable": {"who": "cold"}})
        model.with_config({"tags": ["x"]}).invoke("hi")
        heats = [body.get("temperature") for body in bodies(openai)]
        assert heats == [0.125, 0.0, None]


class TestTraces:
    @pytest.mark.parametrize("enabled", [True, False])
    def test_run_names_who_served(self, anthropic: StandIn, openai: StandIn, *, enabled: bool) -> None:
        """As it begins, a run names whom it will ask first, and in the end who answered, after a failover as well."""
        begun: list[tuple[str, str, str]] = []

        class Handler(BaseCallbackHandler):
            def on_chat_model_start(self, *_: Any, **told: Any) -> None:
                asked, metadata = told["invocation_params"]["model"], told["metadata"]
                begun.append((metadata["ls_provider"], metadata["ls_model_name"], asked))

        anthropic_s = ("anthropic", "claude-sonnet-4-6")
        with live(anthropic, openai, litellm_enable=enabled, litellm_num_retries=1) as client:
            model = client.chat_model()
            config: Any = {"callbacks": [Handler()]}
            anthropic.fail("422")  # which cools nobody
            with collect_runs() as runs:
                model.invoke("hi", config)
                streamed = list(model.stream("hi", config))
                is_told = told_to_tracers(client.generation().snapshot.primary) is not None
                anthropic.heal()
                model.invoke("hi", config)
        assert begun == [(*anthropic_s, "claude-sonnet-4-6")] * 3
        ended = [told.extra["metadata"] for told in runs.traced_runs]
        openai_s = ("openai", "gpt-4o")
        named = [(told["ls_provider"], told["ls_model_name"]) for told in ended]
        assert named == [
            openai_s,
            openai_s if is_told else anthropic_s,  # an older LangChain has no place for it
            anthropic_s,
        ]
        assert "gateway" not in repr(streamed[-1])
        answers = [(told.outputs or {})["generations"][0][0]["message"]["kwargs"] for told in runs.traced_runs]
        assert [answer["response_metadata"]["model_name"] for answer in answers] == ["gpt-4o", "gpt-4o", anthropic_s[1]]


class TestTokens:
    @pytest.mark.parametrize("enabled", [True, False])
    def test_counting_never_raises_on_what_calls_accept(self, openai: StandIn, *, enabled: bool) -> None:
        """Images, files, tool calls and results, foreign blocks, nothing at all: a number, and more for more."""
        with live(openai, litellm_enable=enabled, litellm_num_retries=1) as client:
            model = client.chat_model()
            for message in MESSAGES:
                alone = model.get_num_tokens_from_messages([message])
                assert alone >= 0, message
                together = model.get_num_tokens_from_messages([message, HumanMessage("and more")], tools=[WEATHER])
                assert together > alone, message
            assert model.get_num_tokens_from_messages([]) >= 0
            assert model.get_num_tokens("") == 0
            assert model.get_num_tokens("<|endoftext|> hello") > 0


class TestGreenThreads:
    @pytest.mark.parametrize(
        ("module", "tells"), [("gevent.monkey", "is_module_patched"), ("eventlet.patcher", "is_monkey_patched")]
    )
    def test_replaced_threads_are_refused_at_once(
        self, monkeypatch: pytest.MonkeyPatch, module: str, tells: str
    ) -> None:
        """Two event loops cannot run in one thread: the first call says so, and does not wait for ever."""
        replaced = ModuleType(module)
        setattr(replaced, tells, lambda name: name in {"threading", "thread"})
        monkeypatch.setitem(sys.modules, module, replaced)
        client = liverouter.LiveRouter(database_url="postgresql://u:p@127.0.0.1:1/x")
        with pytest.raises(liverouter.LiveRouterError, match="gthread") as caught:
            client.chat_model().invoke("hi")
        client.close()
        assert caught.value.code == "LR409"
        assert module.partition(".")[0] in str(caught.value)

    def test_a_library_that_has_replaced_nothing_is_no_fault(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Installed and imported it may be."""
        idle = ModuleType("gevent.monkey")
        idle.is_module_patched = lambda _: False  # type: ignore[attr-defined]  # as gevent's
        monkeypatch.setitem(sys.modules, "gevent.monkey", idle)
        refuse_green_threads()


class TestCallersLoop:
    @pytest.mark.parametrize("first", ["async with", "ainvoke"])
    async def test_first_start_does_not_block_the_loop(self, monkeypatch: pytest.MonkeyPatch, first: str) -> None:
        """Detectors of blocking calls, as LangGraph's server has one, find nothing in the caller's thread."""
        caller, blocked = threading.get_ident(), []
        wait = threading.Event.wait

        def watched(event: threading.Event, timeout: float | None = None) -> bool:
            if threading.get_ident() == caller and sys._getframe(1).f_globals["__name__"] != "threading":  # noqa: SLF001 - asyncio's own thread is excused
                blocked.append(event)
            return wait(event, timeout)

        monkeypatch.setattr(threading.Event, "wait", watched)
        client = liverouter.LiveRouter(database_url="postgresql://u:p@127.0.0.1:1/x", ready_timeout_s=0.2)
        if first == "async with":
            async with client:
                pass
        else:
            with pytest.raises(liverouter.NotReadyError):
                await client.chat_model().ainvoke("hi")
            await asyncio.to_thread(client.close)
        assert blocked == []


def _callables() -> Iterator[tuple[str, Any]]:
    """Yield all that is public, with its name, and each method of what is a class."""
    for name in dir(liverouter):
        public = getattr(liverouter, name)
        yield name, public
        for member, value in vars(public).items() if inspect.isclass(public) else ():
            bare = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
            if inspect.isfunction(bare) and bare.__module__.startswith("liverouter"):
                yield f"{name}.{member}", bare


@pytest.mark.parametrize(("name", "public"), [pytest.param(*pair, id=pair[0]) for pair in _callables()])
def test_type_hints_of_what_is_public_can_be_read(name: str, public: Any) -> None:
    """Frameworks that read annotations find each name in them: nothing is imported for type checkers alone."""
    assert isinstance(typing.get_type_hints(public), dict), name
