"""Callers of every kind share one loop and its connections: threads, scripts, notebooks, loops that come and go."""

from __future__ import annotations

import asyncio
import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from langchain_core.callbacks import BaseCallbackHandler

from liverouter.errors import LiveRouterError
from liverouter.routing import answer_body
from liverouter.testing import StandIn
from tests.kit.dialects import MODELS
from tests.kit.standins import collect, live, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from liverouter.testing import MemoryRouter

WAIT_S: Final = 60.0
STREAMED: Final = ("anthropic", "openai", "vertex-ai")  # of how streams are written there are three
DESCRIPTORS: Final = Path("/proc/self/fd")


@pytest.fixture(scope="module", autouse=True)
def _all_is_loaded() -> None:
    """Both engines are loaded, and no collection looks through them again: descriptors are counted after a full one."""
    with StandIn("openai") as standin, live(standin) as client:
        for enabled in (True, False):
            client.set(litellm_enable=enabled)
            client.chat_model().invoke("hi")
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _every_end_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections are counted in here, and the time for the end of a stream passes by itself on a busy machine."""
    monkeypatch.setattr(answer_body, "_END_S", WAIT_S)


@pytest.fixture(params=[("anthropic", True), ("openai", True), ("openai", False)], ids=["anthropic", "openai", "plain"])
def standin_and_client(request: pytest.FixtureRequest) -> Iterator[tuple[StandIn, MemoryRouter]]:
    """Return a stand-in and a client on it: two dialects through litellm, one without."""
    provider, enabled = request.param
    with StandIn(provider) as standin, live(standin, litellm_enable=enabled) as client:
        yield standin, client


def descriptors() -> int:
    """Return how many file descriptors this process has open."""
    gc.collect()
    return len(list(DESCRIPTORS.iterdir()))


@pytest.mark.skipif(not DESCRIPTORS.exists(), reason="this system does not list a process's descriptors")
class TestConnections:
    def test_sync_calls_use_one_connection(self, standin_and_client: tuple[StandIn, MemoryRouter]) -> None:
        """The calls of a script open no connection each and leave the descriptors as they were."""
        standin, client = standin_and_client
        model = client.chat_model()
        model.invoke("hi")
        before = descriptors()
        for _ in range(20):
            model.invoke("hi")
        assert standin.accepted <= 3
        assert descriptors() <= before + 3

    def test_loops_that_come_and_go_share_connections(self, standin_and_client: tuple[StandIn, MemoryRouter]) -> None:
        """`asyncio.run` per call, as scripts and task queues do, leaves neither connections nor descriptors."""
        standin, client = standin_and_client
        model = client.chat_model()
        run(lambda: collect(model))
        before = descriptors()
        for _ in range(12):
            run(lambda: collect(model))
        assert standin.accepted <= 5
        assert descriptors() <= before + 5

    def test_streams_whose_end_comes_late_keep_their_connection(
        self, standin_and_client: tuple[StandIn, MemoryRouter]
    ) -> None:
        """A body that ends in a packet after its last event, as most servers send it, is read to that end."""
        standin, client = standin_and_client
        model = client.chat_model()
        standin.delay(chunk_delay_s=0.005)
        for _ in range(10):
            assert len(list(model.stream("hi"))) > 1
        assert standin.accepted <= 2

    def test_threads_share_the_loop(self, standin_and_client: tuple[StandIn, MemoryRouter]) -> None:
        """Eight threads need no more than eight connections for all their calls."""
        standin, client = standin_and_client
        model = client.chat_model()
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda number: model.invoke(f"number {number}").content, range(24)))
        assert [str(answer).rpartition(": ")[2] for answer in answers] == [f"number {number}" for number in range(24)]
        assert standin.accepted <= 10

    def test_end_of_the_client_leaves_nothing(
        self, standin_and_client: tuple[StandIn, MemoryRouter], wait_until: Callable[..., None]
    ) -> None:
        """Once the client is closed no connection, descriptor or thread of it is left."""
        standin, client = standin_and_client
        threads, before = threading.active_count(), descriptors()
        with live(standin, litellm_enable=client.generation().router is not None) as second:
            second.chat_model().invoke("hi")
            list(second.chat_model().stream("hi"))
            assert standin.open_connections >= 1
        standin.wait_until(lambda s: s.open_connections == 0, WAIT_S)
        wait_until(lambda: threading.active_count() <= threads and descriptors() <= before)

    @pytest.mark.parametrize("provider", ["anthropic", "openai", "snowflake-cortex"])
    def test_a_new_key_keeps_the_connection(self, provider: str) -> None:
        """However often a key is changed, calls with the next one go over the connection that is there."""
        with StandIn(provider) as standin, live(standin) as client:
            model = client.chat_model()
            model.invoke("hi")
            before = descriptors()
            for number in range(4):
                (name,) = standin.secrets()
                client.set(secrets={name: f"sk-test-rotated-{number}-0123456789"})
                model.invoke("hi")
                assert f"rotated-{number}-" in str(standin.requests[-1].headers)
            assert standin.accepted == 1
            assert descriptors() <= before

    def test_retired_generations_let_go_of_their_connections(
        self, anthropic: StandIn, wait_until: Callable[..., None]
    ) -> None:
        """With litellm off, each config has its own client, which closes when its last call has ended."""
        with live(anthropic, litellm_enable=False) as client:
            model = client.chat_model()
            model.invoke("hi")
            before = descriptors()
            for number in range(8):
                client.set(llm_temperature=number / 10)
                model.invoke("hi")
            gc.collect()
            anthropic.wait_until(lambda s: s.open_connections <= 2, WAIT_S)
            wait_until(lambda: descriptors() <= before + 3)


class TestCancellation:
    @pytest.mark.parametrize("provider", MODELS)
    async def test_cancelled_call_cancels_the_request(self, provider: str) -> None:
        """Cancelling an awaited call ends the request at the provider."""
        async with StandIn(provider) as standin:
            with live(standin) as client, standin.hold() as gate:
                call = asyncio.create_task(client.chat_model().ainvoke("hi"))
                await gate.wait_held_async(1, WAIT_S)
                call.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await call
                await standin.wait_disconnects_async(1, WAIT_S)

    @pytest.mark.parametrize("provider", STREAMED)
    async def test_closed_stream_cancels_the_request(self, provider: str) -> None:
        """Leaving an async stream early ends it at the provider."""
        async with StandIn(provider) as standin:
            with live(standin) as client, standin.hold(after_chunks=1) as gate:
                chunks = client.chat_model().astream("one two three")
                await anext(chunks)
                await gate.wait_held_async(1, WAIT_S)
                await chunks.aclose()  # type: ignore[attr-defined]  # a generator
                await standin.wait_disconnects_async(1, WAIT_S)

    @pytest.mark.parametrize("provider", STREAMED)
    def test_dropped_sync_stream_cancels_the_request(self, provider: str) -> None:
        """Leaving a loop over a stream ends it at the provider, which litellm alone would keep open."""
        with StandIn(provider) as standin, live(standin) as client, standin.hold(after_chunks=1) as gate:
            for _ in client.chat_model().stream("one two three"):
                gate.wait_held(1, WAIT_S)
                break
            gc.collect()
            standin.wait_disconnects(1, WAIT_S)

    @pytest.mark.parametrize("enabled", [True, False])
    async def test_timed_out_caller_cancels_the_request(self, *, enabled: bool) -> None:
        """`asyncio.timeout` around a call works, in Router mode and plain."""
        async with StandIn("openai") as standin:
            with live(standin, litellm_enable=enabled) as client, standin.hold() as gate:

                async def impatient() -> None:
                    async with asyncio.timeout(None) as patience, asyncio.TaskGroup() as tasks:
                        call = tasks.create_task(client.chat_model().ainvoke("hi"))
                        await gate.wait_held_async(1, WAIT_S)
                        patience.reschedule(asyncio.get_running_loop().time())
                        await call

                with pytest.raises(TimeoutError):
                    await impatient()
                await standin.wait_disconnects_async(1, WAIT_S)


class TestNotebook:
    async def test_sync_call_inside_a_running_loop_works(self, anthropic: StandIn) -> None:
        """A notebook's cell runs in a loop, and calls `invoke` and `stream` there."""
        with live(anthropic) as client:
            model = client.chat_model()
            assert model.invoke("hi").content == "claude-sonnet-4-6 says: hi"
            assert "".join(str(chunk.content) for chunk in model.stream("hi")) == "claude-sonnet-4-6 says: hi"

    async def test_async_call_does_not_block_the_loop(self, anthropic: StandIn) -> None:
        """While an async call waits for the provider, the caller's loop goes on."""
        with live(anthropic) as client, anthropic.hold() as gate:
            call = asyncio.create_task(client.chat_model().ainvoke("hi"))
            await gate.wait_held_async(1, WAIT_S)
            for _ in range(100):
                await asyncio.sleep(0)
            assert not call.done()  # it waits at the gate, and held up nobody
            gate.open()
            await call

    def test_blocking_call_on_the_io_loop_is_refused(self, anthropic: StandIn) -> None:
        """Code that runs on the I/O loop itself gets an error and no deadlock; async code there works."""
        with live(anthropic) as client:
            model = client.chat_model()

            async def on_the_loop() -> Any:
                with pytest.raises(LiveRouterError) as caught:
                    model.invoke("hi")
                assert caught.value.code == "LR406"
                return (await model.ainvoke("hi")).content

            assert client.io.call(on_the_loop) == "claude-sonnet-4-6 says: hi"


class TestCallbacks:
    def test_callbacks_run_in_the_callers_thread(self, anthropic: StandIn) -> None:
        """Handlers see tokens where the caller is, once each, and never run on the I/O loop."""

        class Handler(BaseCallbackHandler):
            def __init__(self) -> None:
                self.tokens: list[str] = []
                self.threads: set[int] = set()

            def on_llm_new_token(self, token: Any, **_: Any) -> None:
                self.tokens.append(str(token))
                self.threads.add(threading.get_ident())

        handler = Handler()
        with live(anthropic) as client:
            chunks = list(client.chat_model().stream("one two three", {"callbacks": [handler]}))
        assert "".join(handler.tokens) == "claude-sonnet-4-6 says: one two three"
        assert len(handler.tokens) == len(chunks)
        assert handler.threads == {threading.get_ident()}

    def test_slow_reader_holds_the_stream_back(self) -> None:
        """A reader that stops reading stops the provider's stream, and loses nothing of it."""
        words = " ".join(f"w{number}" for number in range(40))
        with StandIn("openai") as standin, live(standin) as client:
            chunks = client.chat_model().stream(words)
            first = next(chunks)
            assert sum(chunks, first).content == f"gpt-4o says: {words}"[: 200 + len("gpt-4o says: ")]
