"""One handle, built once: every call is served by the config in force when it begins, and says by whom."""

from __future__ import annotations

import asyncio
import itertools
import pickle
import random
import re
import sys
from typing import TYPE_CHECKING, Any, Final

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.load import dumps, loads
from langchain_core.messages import AIMessage, HumanMessage, trim_messages
from langchain_core.runnables import ConfigurableField
from langchain_core.tracers.context import collect_runs
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

import liverouter
from liverouter.chat.model import LiveChatModel
from liverouter.testing import Reply, StandIn, ToolCall
from tests.kit.standins import KEY, bodies, collect, fallback, live, primary, served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from langchain_core.messages import AIMessageChunk

    from liverouter.testing import MemoryRouter

WAIT_S: Final = 60.0


@pytest.fixture
def client(anthropic: StandIn, openai: StandIn) -> Iterator[MemoryRouter]:
    """Return a client with Anthropic before OpenAI."""
    with live(anthropic, openai) as entered:
        yield entered


class TestServed:
    def test_answer_names_who_served(self, client: MemoryRouter) -> None:
        """An answer says which deployment gave it, as what, at which revision, for how much."""
        message = client.chat_model().invoke("hi")
        deployment = client.generation().snapshot.primary
        facts = served(message)
        assert facts.pop("cost_usd") > 0
        assert facts == {
            "provider": "anthropic",
            "model": "claude-sonnet-4-6",
            "deployment_id": deployment.id,
            "role": "primary",
            "revision": 1,
            "failed_over": False,
            "attempts": 1,
            "name": "default",
            "engine": "litellm",
        }
        assert message.response_metadata["model_name"] == "claude-sonnet-4-6"

    def test_last_chunk_of_a_stream_names_who_served(self, client: MemoryRouter) -> None:
        """The last chunk carries the same facts, and it alone; cost and tokens are those of the stream."""
        chunks = list(client.chat_model().stream("hi"))
        assert [chunk.chunk_position for chunk in chunks if chunk.chunk_position] == ["last"]
        assert chunks[-1].chunk_position == "last"
        assert [chunk for chunk in chunks if "liverouter" in chunk.response_metadata] == [chunks[-1]]
        whole = sum(chunks[1:], chunks[0])
        assert served(whole)["deployment_id"] == client.generation().snapshot.primary.id
        assert served(whole)["cost_usd"] > 0
        assert whole.usage_metadata is not None
        assert whole.usage_metadata["total_tokens"] > 0
        assert whole.response_metadata["model_name"] == "claude-sonnet-4-6"

    def test_fallback_names_itself(self, client: MemoryRouter, anthropic: StandIn) -> None:
        """After a failover the answer names the fallback, and how many attempts it took."""
        anthropic.fail("401")
        for message in (client.chat_model().invoke("hi"), asyncio.run(collect(client.chat_model()))):
            assert served(message)["model"] == "gpt-4o"
            assert served(message)["role"] == "fallback"
            assert served(message)["failed_over"]
            assert message.response_metadata["model_name"] == "gpt-4o"
        assert served(client.chat_model().invoke("hi"))["attempts"] == 1  # the primary cools

    def test_usage_callback_counts_by_the_model_that_served(self, client: MemoryRouter, anthropic: StandIn) -> None:
        """LangChain's usage callback, and so cost by model, is right after a failover."""
        usage = UsageMetadataCallbackHandler()
        client.chat_model().invoke("hi", {"callbacks": [usage]})
        anthropic.fail("401")
        client.chat_model().invoke("hi", {"callbacks": [usage]})
        assert set(usage.usage_metadata) == {"claude-sonnet-4-6", "gpt-4o"}

    def test_plain_answer_names_who_served(self, client: MemoryRouter) -> None:
        """With litellm off an answer carries the same facts."""
        client.set(litellm_enable=False)
        for message in (client.chat_model().invoke("hi"), asyncio.run(collect(client.chat_model()))):
            assert served(message)["provider"] == "anthropic"
            assert served(message)["attempts"] == 1
            assert served(message)["revision"] == 2
            assert message.response_metadata["model_name"] == "claude-sonnet-4-6"

    def test_plain_answer_counts_its_retries(self, client: MemoryRouter, anthropic: StandIn) -> None:
        """The attempts at the provider's own class are counted too."""
        client.set(litellm_enable=False)
        anthropic.fail("500", times=1)
        assert served(client.chat_model().invoke("hi"))["attempts"] == 2

    @pytest.mark.filterwarnings("ignore:The function `loads` is in beta")
    def test_answer_is_plain_data(self, client: MemoryRouter) -> None:
        """Nothing of litellm's leaks: messages survive LangChain's and LangGraph's serialisers unchanged."""
        tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
        model = client.chat_model().bind_tools([tool])
        first, *others = model.stream("add")
        for message in (model.invoke("add"), model.invoke("hi"), sum(others, first)):
            assert isinstance(message, AIMessage)
            assert loads(dumps(message), allowed_objects="core") == message
            kind, data = JsonPlusSerializer().dumps_typed(message)
            assert JsonPlusSerializer().loads_typed((kind, data)) == message
            assert "litellm." not in repr(type(message.response_metadata.get("token_usage")))

    def test_one_call_is_one_run(self, client: MemoryRouter) -> None:
        """Traces show one run a call, with model and provider, and tokens."""
        with collect_runs() as runs:
            client.chat_model().invoke("hi")
        (run,) = runs.traced_runs
        assert run.name == "LiveChatModel"
        assert run.child_runs == []
        assert run.extra["metadata"]["ls_provider"] == "anthropic"
        assert run.extra["metadata"]["ls_model_name"] == "claude-sonnet-4-6"
        assert run.outputs is not None
        assert KEY not in run.model_dump_json()


class TestSwap:
    def test_next_call_follows_the_rows(self, client: MemoryRouter, openai: StandIn) -> None:
        """The same object, a binding and a chain of it serve with the new config from the next call on."""
        model = client.chat_model()
        bound = model.bind(stop=["never"])
        chain = model | (lambda message: message.content)
        assert str(model.invoke("hi").content).startswith("claude-sonnet-4-6")
        client.set(**primary(openai), llm_fallback_config=None)
        assert str(model.invoke("hi").content).startswith("gpt-4o")
        assert str(bound.invoke("hi").content).startswith("gpt-4o")
        assert chain.invoke("hi").startswith("gpt-4o")
        assert served(model.invoke("hi"))["revision"] == 2

    def test_stream_stays_with_its_generation(self, client: MemoryRouter, anthropic: StandIn, openai: StandIn) -> None:
        """A stream that began before a swap ends with the model it began with; the next call has the new one."""
        model = client.chat_model()
        with anthropic.hold(after_chunks=1) as gate:
            chunks = model.stream("one two three")
            begun = next(chunks)
            client.set(**primary(openai), llm_fallback_config=None)
            assert str(model.invoke("hi").content).startswith("gpt-4o")
            gate.open()
            whole = sum(chunks, begun)
        assert whole.content == "claude-sonnet-4-6 says: one two three"
        assert served(whole)["revision"] == 1

    async def test_no_stream_mixes_generations(self, client: MemoryRouter, anthropic: StandIn, openai: StandIn) -> None:
        """20 streams open at once, 60 random swaps: each stream is whole, and of the generation it began with."""
        model, chosen = client.chat_model(), random.Random(7)  # noqa: S311 - not for secrets
        numbers = iter(range(60))

        def swap(times: int) -> tuple[int, str]:
            for number in itertools.islice(numbers, times):
                standin, other = chosen.sample([anthropic, openai], 2)
                name = f"{'claude' if standin is anthropic else 'gpt'}-{number}x"
                spare = chosen.choice([None, fallback(other)])
                client.set(
                    **primary(standin, name),
                    llm_fallback_config=spare,
                    litellm_enable=chosen.random() < 0.7,
                    litellm_timeout=600,
                )
            snapshot = client.generation().snapshot
            return snapshot.revision, snapshot.primary.model

        async def finish(chunks: AsyncIterator[AIMessageChunk], whole: AIMessageChunk) -> AIMessageChunk:
            async for chunk in chunks:
                whole += chunk
            return whole

        begun: list[tuple[tuple[int, str], str, AsyncIterator[AIMessageChunk], AIMessageChunk]] = []
        with anthropic.hold(after_chunks=2) as one, openai.hold(after_chunks=2) as other:
            for number in range(20):
                expected = await asyncio.to_thread(swap, 2)
                text = " ".join(f"word{number}.{at}" for at in range(12))
                chunks = model.astream(text)
                begun.append((expected, text, chunks, await anext(chunks)))
            assert anthropic.in_flight + openai.in_flight == 20
            one.open()
            other.open()
            swapping = asyncio.create_task(asyncio.to_thread(swap, 20))  # while the rest of the chunks flows
            wholes = await asyncio.gather(*(finish(chunks, first) for _, _, chunks, first in begun))
            assert await swapping == (client.generation().snapshot.revision, served(await model.ainvoke("hi"))["model"])
        assert next(numbers, None) is None
        assert len({expected for expected, *_ in begun}) == 20
        for whole, ((revision, name), text, *_) in zip(wholes, begun, strict=True):
            assert whole.text == f"{name} says: {text}"
            assert (served(whole)["revision"], served(whole)["model"]) == (revision, name)

    def test_litellm_off_and_on_again(self, client: MemoryRouter, anthropic: StandIn) -> None:
        """`litellm_enable` swaps the inner model under the same handle, there and back."""
        model = client.chat_model()
        kinds = []
        for enabled in (True, False, True):
            client.set(litellm_enable=enabled)
            model.invoke("hi")
            kinds.append(served(model.invoke("hi"))["engine"])
        assert kinds == ["litellm", "native", "litellm"]
        assert anthropic.violations == ()


class TestPinned:
    def test_pinned_handle_stays(self, client: MemoryRouter, openai: StandIn) -> None:
        """A pinned handle keeps model and profile while the live one follows; bindings of it too."""
        model = client.chat_model()
        pinned = model.pinned()
        bound = pinned.bind(stop=["never"])
        profile = dict(pinned.profile or {})
        client.set(**primary(openai, "gpt-3.5-turbo"), llm_fallback_config=None)
        assert str(pinned.invoke("hi").content).startswith("claude-sonnet-4-6")
        assert str(bound.invoke("hi").content).startswith("claude-sonnet-4-6")
        assert pinned.profile == profile
        assert str(model.invoke("hi").content).startswith("gpt-3.5-turbo")
        assert model.profile != profile
        assert str(model.pinned().invoke("hi").content).startswith("gpt-3.5-turbo")

    def test_pinned_handle_keeps_own_parameters(self, client: MemoryRouter, anthropic: StandIn) -> None:
        """Pinning changes the source and nothing else."""
        LiveChatModel(source=client, temperature=0.3).pinned().invoke("hi")
        assert bodies(anthropic)[-1]["temperature"] == 0.3


class TestParameters:
    @pytest.mark.parametrize("enabled", [True, False])
    def test_configured_parameters_are_sent(self, openai: StandIn, *, enabled: bool) -> None:
        """`llm_temperature` and `llm_max_tokens` reach the provider."""
        with live(openai, llm_temperature=0.25, llm_max_tokens=77, litellm_enable=enabled) as client:
            client.chat_model().invoke("hi")
            assert client.chat_model().max_tokens == 77
        body = bodies(openai)[-1]
        assert body["temperature"] == 0.25
        assert body.get("max_tokens", body.get("max_completion_tokens")) == 77

    @pytest.mark.parametrize("enabled", [True, False])
    def test_callers_parameters_win(self, openai: StandIn, *, enabled: bool) -> None:
        """What a call, a binding or the constructor gives wins over the rows, in this order."""
        with live(openai, llm_temperature=0.25, llm_max_tokens=77, litellm_enable=enabled) as client:
            model = LiveChatModel(source=client, temperature=0.5, max_tokens=50)
            assert model.max_tokens == 50
            model.invoke("hi")
            model.bind(temperature=0.75).invoke("hi")
            model.invoke("hi", temperature=1.0, max_tokens=5, stop=["x"])
        sent = bodies(openai)
        assert [body["temperature"] for body in sent] == [0.5, 0.75, 1.0]
        assert [body.get("max_tokens", body.get("max_completion_tokens")) for body in sent] == [50, 50, 5]
        assert sent[-1]["stop"] == ["x"]

    def test_stop_sequences_cut_the_answer(self, client: MemoryRouter) -> None:
        """`stop` works, given either way."""
        model = client.chat_model()
        assert model.invoke("one two", stop=["two"]).content == "claude-sonnet-4-6 says: one "
        assert model.bind(stop=["two"]).invoke("one two").content == "claude-sonnet-4-6 says: one "
        assert asyncio.run(collect(model, "one two", stop=["two"])).content == "claude-sonnet-4-6 says: one "

    def test_n_gives_several_answers(self, openai: StandIn) -> None:
        """`n` answers come as so many generations, each signed."""
        with live(openai) as client:
            result = client.chat_model().generate([[HumanMessage("hi")]], n=2)
        generations = result.generations[0]
        assert [generation.text for generation in generations] == ["gpt-4o says: hi", "gpt-4o says: hi (2)"]
        assert all(served(generation.message)["model"] == "gpt-4o" for generation in generations)  # type: ignore[union-attr]

    def test_fields_are_configurable(self, openai: StandIn) -> None:
        """`configurable_fields` works as on any chat model."""
        with live(openai) as client:
            model = client.chat_model().configurable_fields(temperature=ConfigurableField(id="heat"))
            model.with_config(configurable={"heat": 0.125}).invoke("hi")
        assert bodies(openai)[-1]["temperature"] == 0.125

    def test_call_may_name_a_configured_model(self, client: MemoryRouter) -> None:
        """`model` in a call names a deployment by model, provider/model or id; nothing else, and says what there is."""
        model = client.chat_model()
        assert served(model.invoke("hi", model="gpt-4o"))["model"] == "gpt-4o"
        assert served(model.invoke("hi", model="openai/gpt-4o"))["model"] == "gpt-4o"
        assert served(model.invoke("hi", model="ekaiX-model"))["model"] == "claude-sonnet-4-6"
        with pytest.raises(ValueError, match=re.escape("anthropic/claude-sonnet-4-6, openai/gpt-4o")):
            model.invoke("hi", model="gpt-9")


class TestCacheIdentity:
    def hits(self, model: LiveChatModel, standin: StandIn, **kwargs: Any) -> int:
        """Return how many requests the same question costs now."""
        before = standin.hits
        model.invoke("hi", **kwargs)
        return standin.hits - before

    def test_cache_follows_model_and_parameters_exactly(self, openai: StandIn) -> None:
        """A cached answer serves while provider, model and parameters are the same, and never longer."""
        with live(openai) as client:
            model = LiveChatModel(source=client, cache=InMemoryCache())
            assert self.hits(model, openai) == 1
            assert self.hits(model, openai) == 0
            client.set(litellm_timeout=70, litellm_num_retries=1)  # changes no answer
            assert self.hits(model, openai) == 0
            client.set(secrets={"openai_api_key": "sk-test-another-key-000"})
            assert self.hits(model, openai) == 0
            for change in ({"llm_temperature": 0.5}, {"llm_max_tokens": 9}, {"llm_model": "gpt-4.1"}):
                client.set(**change)
                assert self.hits(model, openai) == 1, change
                assert self.hits(model, openai) == 0, change
            assert self.hits(model, openai, temperature=0.9) == 1
            assert self.hits(model, openai, temperature=0.9) == 0
            client.set(llm_temperature=None, llm_max_tokens=None, llm_model="gpt-4o")
            assert self.hits(model, openai) == 0  # what was asked first is remembered

    def test_tools_are_part_of_the_identity_and_stable(self, openai: StandIn) -> None:
        """The same tools, bound again, find the cached answer; other tools do not."""

        def add(a: int, b: int) -> int:
            """Add."""
            return a + b

        def take(a: int, b: int) -> int:
            """Take."""
            return a - b

        with live(openai) as client:
            model = LiveChatModel(source=client, cache=InMemoryCache())
            for tools, hits in (([add], 1), ([add], 0), ([take], 1), ([add, take], 1)):
                before = openai.hits
                model.bind_tools(tools).invoke("hi")
                assert openai.hits - before == hits

    def test_config_is_in_the_traced_parameters(self, client: MemoryRouter, openai: StandIn) -> None:
        """`asdict` changes with the config, and holds no secret."""
        model = client.chat_model()
        before = model.asdict()
        client.set(**primary(openai), llm_fallback_config=None)
        assert model.asdict() != before
        assert KEY not in repr(before)


class TestCopies:
    def test_handles_of_one_client_are_equal_and_hashable(self, client: MemoryRouter) -> None:
        """Handles may stand in sets and be keys."""
        assert client.chat_model() == client.chat_model()
        assert len({client.chat_model(), client.chat_model()}) == 1
        assert LiveChatModel(source=client, temperature=0.5) != client.chat_model()

    def test_handle_of_an_explicit_client_does_not_pickle(self, client: MemoryRouter) -> None:
        """Another process cannot know which rows it meant; the error says what can be pickled."""
        with pytest.raises(TypeError):
            pickle.dumps(client.chat_model())
        with pytest.raises(TypeError):
            pickle.dumps(client.chat_model().pinned())

    def test_default_handle_pickles_by_its_factory(self, client: MemoryRouter) -> None:
        """The default client's handle becomes the other process's own, with its parameters."""
        handle = LiveChatModel(source=client, restore=liverouter.get_chat_model, temperature=0.5)
        restored = pickle.loads(pickle.dumps(handle))  # noqa: S301 - our own
        assert restored.source is client
        assert restored.temperature == 0.5

    def test_repr_shows_no_secret(self, client: MemoryRouter) -> None:
        """Neither the handle nor what it holds shows a credential."""
        assert KEY not in repr(client.chat_model())
        assert KEY not in repr(client.generation())


class TestStreaming:
    @pytest.mark.filterwarnings("ignore:The method `BaseChatModel._achat_model_stream_v3` is in beta")
    async def test_events_of_all_versions_arrive(self, client: MemoryRouter) -> None:
        """`astream_events` v2 and the newer v3 protocol both work."""
        model = client.chat_model()
        events = [event["event"] async for event in model.astream_events("one two", version="v2")]
        assert events[0] == "on_chat_model_start"
        assert events[-1] == "on_chat_model_end"
        assert "on_chat_model_stream" in events
        stream = await model.astream_events("one two", version="v3")
        assert await stream.text == "claude-sonnet-4-6 says: one two"

    def test_batch_runs_side_by_side(self, client: MemoryRouter, anthropic: StandIn) -> None:
        """`batch` uses threads, which share the one loop and its connections."""
        messages = client.chat_model().batch([f"number {number}" for number in range(12)])
        assert [message.content for message in messages] == [f"claude-sonnet-4-6 says: number {n}" for n in range(12)]
        assert anthropic.accepted <= 13

    def test_disabled_streaming_answers_in_one_chunk(self, client: MemoryRouter) -> None:
        """`disable_streaming` is LangChain's own switch and works."""
        model = LiveChatModel(source=client, disable_streaming=True)
        assert [chunk.content for chunk in model.stream("hi")] == ["claude-sonnet-4-6 says: hi"]

    def test_output_version_v1_gives_standard_blocks(self, openai: StandIn) -> None:
        """With `output_version` v1 the content is LangChain's standard blocks."""
        with live(openai) as client:
            model = LiveChatModel(source=client, output_version="v1")
            assert model.invoke("hi").content == [{"type": "text", "text": "gpt-4o says: hi"}]

    def test_tool_call_chunks_of_parallel_calls_merge(self, openai: StandIn) -> None:
        """Parallel tool calls of a stream come out whole."""
        tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
        openai.respond(Reply(tool_calls=(ToolCall("add", {"a": 1}), ToolCall("add", {"a": 2}))))
        with live(openai) as client:
            message: Any = asyncio.run(collect(client.chat_model(), "go", tools=[tool]))
        assert [call["args"] for call in message.tool_calls] == [{"a": 1}, {"a": 2}]


class TestTokens:
    @pytest.mark.parametrize("enabled", [True, False])
    def test_tokens_are_counted_offline(self, client: MemoryRouter, *, enabled: bool) -> None:
        """Histories can be trimmed with the handle as the counter, without a request to anybody."""
        client.set(litellm_enable=enabled)
        model = client.chat_model()
        assert 5 <= model.get_num_tokens("one two three four five") <= 8
        history: list[Any] = [HumanMessage("word " * 50) for _ in range(4)]
        assert 200 <= model.get_num_tokens_from_messages(history) <= 240
        kept = trim_messages(history, max_tokens=120, token_counter=model, strategy="last")
        assert len(kept) == 2

    def test_tokens_are_estimated_without_litellm(self, client: MemoryRouter, monkeypatch: pytest.MonkeyPatch) -> None:
        """A process that never loaded litellm estimates; it does not import it for that, nor fetch a tokenizer."""
        client.set(litellm_enable=False)
        monkeypatch.setattr("liverouter.routing.litellm_setup._loaded", None)
        monkeypatch.delitem(sys.modules, "litellm")
        model = client.chat_model()
        assert 6 <= model.get_num_tokens("word " * 6) <= 12
        assert 50 <= model.get_num_tokens_from_messages([HumanMessage("word " * 50)]) <= 80
        assert "litellm" not in sys.modules

    def test_own_counter_wins(self, client: MemoryRouter) -> None:
        """A caller's own tokenizer is used where he gives one."""
        model = LiveChatModel(source=client, custom_get_token_ids=lambda text: [1] * len(text))
        assert model.get_num_tokens("four") == 4


class TestFirstConfig:
    def test_profile_and_name_do_not_need_a_config(self) -> None:
        """Agents read a model's profile while they are built, maybe at import time, before there is a config."""

        class Nothing:
            current = None

        model = LiveChatModel(source=Nothing())
        assert model.profile == {"max_input_tokens": 128_000, "structured_output": False}


def test_fallback_with_its_own_key_uses_it(anthropic: StandIn, openai: StandIn) -> None:
    """A fallback entry's own secret is the one that is sent."""
    with live(anthropic, openai) as client:
        client.set(
            llm_fallback_config=fallback(openai, api_key={"secret": "other"}),
            secrets={**openai.secrets(), "other": "sk-test-other-key-00000"},
        )
        anthropic.fail("401")
        client.chat_model().invoke("hi")
    assert openai.requests[-1].headers["authorization"] == "Bearer sk-test-other-key-00000"
