"""Whose call it was is told wherever a call or a process is: answers, errors, counts, metrics, spans, status, SQL."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pytest
from langchain_core.tools import tool
from prometheus_client import CollectorRegistry
from pydantic import BaseModel

from liverouter import LiveRouter, metrics
from liverouter.engine.snapshot_file import write_snapshot_file
from liverouter.errors import CallError, RolloutError
from liverouter.events import (
    CallFailed,
    CallFailedOver,
    CallFitted,
    ConfigApplied,
    ConfigRejected,
    DeploymentCooling,
    HistoryFitted,
    SharedCooldownsChanged,
)
from liverouter.revision import Rows
from liverouter.secrecy.sealing import Keyring, generate_key
from liverouter.testing import EventLog, MemoryRouter, StandIn
from tests.kit.admin import Admin
from tests.kit.ports import ClosedPort
from tests.kit.redis_servers import FakeServer
from tests.kit.standins import primary, served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from liverouter.chat.model import LiveChatModel

MINI: Final[dict[str, Any]] = {"provider": "openai", "model": "gpt-4o-mini"}
SPARE: Final[dict[str, Any]] = {"provider": "anthropic", "model": "claude-haiku-4-5"}
FAST: Final[dict[str, Any]] = MINI | {"fallbacks": SPARE}


class Sum(BaseModel):
    """A sum."""

    total: int


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def _last_event(model: LiveChatModel) -> Any:
    ends = [e["data"]["output"] async for e in model.astream_events("hi") if e["event"] == "on_chat_model_end"]
    return ends[-1]


async def _last_chunk(model: LiveChatModel) -> Any:
    return [chunk async for chunk in model.astream("hi")][-1]


WAYS: Final[dict[str, Callable[[LiveChatModel], Any]]] = {
    "stream": lambda model: list(model.stream("hi"))[-1],
    "astream": lambda model: asyncio.run(_last_chunk(model)),
    "events": lambda model: asyncio.run(_last_event(model)),
    "batch": lambda model: model.batch(["hi", "ho"])[-1],
    "tools": lambda model: model.bind_tools([add]).invoke("hi"),
    "structured": lambda model: model.with_structured_output(Sum, include_raw=True).invoke("7")["raw"],
    "retry": lambda model: model.with_retry().invoke("hi"),
    "pinned": lambda model: model.pinned().invoke("hi"),
    "copy": lambda model: model.model_copy(update={"temperature": 0.5}).invoke("hi"),
}


class TestAnswers:
    @pytest.mark.parametrize("enabled", [True, False])
    def test_every_way_of_asking_is_answered_under_the_name(
        self, openai: StandIn, anthropic: StandIn, *, enabled: bool
    ) -> None:
        """Also where one name stands in for another by LangChain's own fallbacks."""
        rows = {**primary(anthropic), **openai.rows(), "llm:fast": MINI, "litellm_enable": enabled}
        with MemoryRouter(rows, secrets=anthropic.secrets() | openai.secrets()) as client:
            fast = client.chat_model("fast")
            told = {way: served(ask(fast)) for way, ask in WAYS.items()}
            assert {way: (t["name"], t["model"]) for way, t in told.items()} == dict.fromkeys(
                WAYS, ("fast", "gpt-4o-mini")
            )
            anthropic.fail("401")
            assert served(client.chat_model().with_fallbacks([fast]).invoke("hi"))["name"] == "fast"

    def test_error_names_the_name(self, openai: StandIn, anthropic: StandIn) -> None:
        """Where all of its deployments fail; the default's says nothing of names."""
        events = EventLog()
        rows = {
            **primary(anthropic),
            **openai.rows(),
            "llm_fallback_config": MINI,
            "llm:fast": FAST,
            "litellm_enable": False,
            "litellm_num_retries": 1,
        }
        with MemoryRouter(rows, secrets=anthropic.secrets() | openai.secrets(), observers=(events,)) as client:
            for standin in (openai, anthropic):
                standin.fail("500")
            places = []
            for name in ("fast", "default"):
                with pytest.raises(CallError, match="every deployment failed") as caught:
                    client.chat_model(name).invoke("hi")
                places.append(caught.value.where)
            assert places == ["llm:fast, revision 1", "revision 1"]
            assert [event.named for event in events.of(CallFailed)] == ["fast", "default"]


class TestFleet:
    @pytest.fixture
    def admin(self, dsn: str, openai: StandIn, anthropic: StandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[Admin]:
        """An admin of a database with a named model, whose processes have the keys in their environment."""
        for name, key in (anthropic.secrets() | openai.secrets()).items():
            monkeypatch.setenv(name.upper(), key)
        admin = Admin(dsn)
        admin.set(**primary(anthropic), **openai.rows(), litellm_enable=False, litellm_num_retries=1)
        admin.set(**{"llm:fast": FAST, "llm:other": FAST | {"temperature": 0.5}})
        yield admin
        admin.close()

    def test_process_tells_of_each_name(self, admin: Admin, openai: StandIn, wait_until: Callable[..., None]) -> None:
        """Metrics, counts and status of a real client; a bad row of one name is refused by its place."""
        registry, events = CollectorRegistry(), EventLog()
        with LiveRouter(database_url=admin.dsn, app="shop", observers=(events,)) as live:
            metrics.register(registry, client=live)
            models = {name: live.chat_model(name) for name in ("default", "fast", "other")}
            openai.fail("401", times=1)
            for model in models.values():
                model.invoke("hi")
            assert [event.model for event in events.of(CallFailedOver)] == ["fast", "other"]
            assert len(events.of(DeploymentCooling)) == 1, "one place, whoever asks it"
            found = {
                (sample.name.removeprefix("liverouter_process_"), sample.labels["name"], sample.labels["role"]): sample
                for family in registry.collect()
                for sample in family.samples
                if "deployment_id" in sample.labels
            }
            assert {key[1:]: sample.value for key, sample in found.items() if key[0] == "calls_total"} == {
                ("default", "primary"): 1,
                ("fast", "primary"): 0,
                ("fast", "fallback"): 1,
                ("other", "fallback"): 1,
            }
            assert found["failures_total", "fast", "primary"].value == 1
            cooling = {key[1:]: sample.value for key, sample in found.items() if key[0] == "cooling_seconds"}
            assert {key for key, value in cooling.items() if value > 0} == {("fast", "primary"), ("other", "primary")}
            assert cooling["default", "primary"] == 0
            status = live.status()
            assert (status.names, status.asked) == (("fast", "other"), (("fast", "shop"), ("other", "shop")))
            fallback = "FROM liverouter.usage_detail WHERE name = 'other' AND role = 'fallback'"
            wait_until(lambda: admin.ask(f"SELECT coalesce(sum(calls), 0) {fallback}")[0] == 1)

            live.wait_applied(admin.set(**{"llm:fast": MINI | {"model": "gpt-4.1"}}), timeout_s=60)
            assert served(models["fast"].invoke("hi"))["model"] == "gpt-4.1"
            revision = admin.set(**{"llm:fast": MINI | {"provider": "opnai"}})
            with pytest.raises(RolloutError) as caught:
                live.wait_applied(revision, timeout_s=60)
            assert caught.value.code == "LR403"
            refused = events.wait_for(ConfigRejected, revision=revision)
            assert [problem.where for problem in refused.problems] == ["settings.llm:fast.provider"]
            told = "SELECT hint FROM liverouter.problems WHERE code = 'LR101' AND object LIKE '%llm:fast.provider'"
            wait_until(lambda: admin.ask(told) is not None)
            assert served(models["fast"].invoke("hi"))["revision"] == revision - 1

    def test_what_one_client_met_under_one_name_another_knows_under_all(
        self, admin: Admin, openai: StandIn, wait_until: Callable[..., None]
    ) -> None:
        """Shared by Redis, a cooldown is the place's: no name of any process asks there again."""
        redis = FakeServer()
        url, logs = f"redis://127.0.0.1:{redis.port}/0", (EventLog(), EventLog())
        try:
            with (
                LiveRouter(database_url=admin.dsn, redis_url=url, observers=(logs[0],)) as one,
                LiveRouter(database_url=admin.dsn, redis_url=url, observers=(logs[1],)) as other,
            ):
                for events in logs:
                    events.wait_for(SharedCooldownsChanged, attached=True)
                openai.fail("401", times=1)
                assert served(one.chat_model("fast").invoke("hi"))["role"] == "fallback"
                wait_until(lambda: other.generation().named("other").cooling)
                hits = openai.hits
                told = served(other.chat_model("other").invoke("hi"))
                assert (told["name"], told["role"], told["attempts"], openai.hits) == ("other", "fallback", 1, hits)
        finally:
            redis.stop()

    def test_start_without_the_database_serves_names(
        self, openai: StandIn, anthropic: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """From the snapshot file, which holds all rows."""
        for name, key in (anthropic.secrets() | openai.secrets()).items():
            monkeypatch.setenv(name.upper(), key)
        settings = {**primary(anthropic), **openai.rows(), "litellm_enable": False, "llm:fast": FAST}
        key, port, events = generate_key(), ClosedPort(), EventLog()
        rows = Rows("e", 7, "c", datetime.now(UTC), 0.0, settings, {})
        write_snapshot_file(tmp_path / "file", rows, Keyring.from_text(key), database=f"127.0.0.1:{port.number}/app")
        with LiveRouter(
            database_url=f"postgresql://nobody@127.0.0.1:{port.number}/app",
            snapshot_file=tmp_path / "file",
            secret_keys=key,
            observers=(events,),
        ) as live:
            told = served(live.chat_model("fast").invoke("hi"))
            assert (told["name"], told["model"], told["revision"]) == ("fast", "gpt-4o-mini", 7)
            applied = events.wait_for(ConfigApplied)
            assert (applied.source, applied.named_models) == ("snapshot_file", ("fast",))
        port.close()


class TestEvents:
    def test_what_was_fitted_says_under_which_name(self, openai: StandIn, anthropic: StandIn) -> None:
        """A parameter that the model does not take, and a conversation that it does not."""
        events = EventLog()
        rows = {**primary(anthropic), **openai.rows(), "llm:fast": MINI, "litellm_enable": False}
        with MemoryRouter(rows, secrets=anthropic.secrets() | openai.secrets(), observers=(events,)) as client:
            thought: list[Any] = [{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "ho"}]
            orphan: Any = [("user", "hi"), ("assistant", thought), ("user", "hi")]
            client.chat_model("fast").invoke(orphan, top_k=3)
            assert [event.model for event in events.of(CallFitted)] == ["fast"]
            assert [event.model for event in events.of(HistoryFitted)] == ["fast"]
