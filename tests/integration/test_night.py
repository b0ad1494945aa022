"""The night: the primary goes down, then everything, then all is back; wherever somebody looks, each step is told."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from liverouter import LiveRouter
from liverouter.engine import alerts
from liverouter.events import CallFailed, ConfigApplied, DeploymentCooling, DeploymentRecovered
from liverouter.secrecy.sealing import generate_key
from liverouter.testing import EventLog, Failure
from tests.kit.admin import Admin
from tests.kit.follower import Load
from tests.kit.http import Api
from tests.kit.receiver import Receiver, seal_webhook
from tests.kit.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterable

    from liverouter.events import Event
    from liverouter.testing import StandIn

_SERVICES = 3


class Night:
    """Three services that never stop calling, a page that is open, somebody in psql, and a webhook."""

    def __init__(self, admin: Admin, logs: list[EventLog], api: Api, receiver: Receiver) -> None:
        self._admin, self._logs, self._api, self._receiver = admin, logs, api, receiver

    def codes(self) -> set[tuple[str, str]]:
        """Return severity and code of what `problems` says of providers."""
        query = "SELECT severity, code FROM liverouter.problems WHERE code BETWEEN 'LR320' AND 'LR329'"
        return set(self._admin.connection.execute(query).fetchall())

    def is_seen(self, wanted: set[tuple[str, str]]) -> bool:
        """Tell whether `problems` says *wanted* at least, and the page and the metrics say what `problems` does."""
        with self._api.events() as events:
            _, hello = next(events)
        page = {(problem["severity"], problem["code"]) for problem in hello["problems"]}
        metrics = self._api.client.get("/metrics").text
        return self.codes() >= wanted and page >= wanted and all(_sample(*pair) in metrics for pair in wanted)

    def await_problems(self, *wanted: tuple[str, str]) -> None:
        """Return once *wanted* is seen wherever an operator looks."""
        until(lambda: self.is_seen(set(wanted)), what=f"{wanted} in problems, page and metrics")

    def await_events(self, kind: type[Event], count: int = 1, **facts: Any) -> None:
        """Return once each service has logged an event of *kind* with these *facts* so often."""
        for log in self._logs:
            log.wait_for(kind, count=count, **facts)

    def told(self, kind: str) -> set[str]:
        """Return the codes that the webhook was told of as *kind*, gained or lost; nobody has to wait for a turn."""
        execute = self._admin.connection.execute
        execute("UPDATE liverouter.alerts SET changed_at = changed_at - interval '1 hour' WHERE NOT stands")
        execute("UPDATE liverouter.alert_turn SET next_at = '-infinity' WHERE ticket IS NULL")
        codes = {item["code"] for post in self._receiver.posts for item in post[kind]}
        return {code for code in codes if code.startswith("LR32")}  # of providers


def _sample(severity: str, code: str) -> str:
    return f'liverouter_problems{{code="{code}",severity="{severity}"}} '


@pytest.fixture
def night(dsn: str, openai: StandIn, anthropic: StandIn, monkeypatch: pytest.MonkeyPatch) -> Iterable[Night]:
    """All of it, everything well."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-anthropic")
    monkeypatch.setattr(alerts, "_EVERY_S", 0.05)
    with ExitStack() as stack:
        receiver = stack.enter_context(Receiver())
        admin = Admin(dsn)
        stack.callback(admin.close)
        rows: dict[str, Any] = {
            "llm_provider": "openai",
            "llm_model": "gpt-4o",
            "openai_api_base": openai.base_url,
            "anthropic_api_base": anthropic.base_url,
            "llm_fallback_config": {"provider": "anthropic", "model": "claude-sonnet-4-6"},
            "litellm_enable": False,
            "litellm_allowed_fails": 1,
            "litellm_cooldown_time": 2,
        }
        admin.set(**rows)
        key = generate_key()
        monkeypatch.setenv("LIVEROUTER_SECRET_KEYS", key)
        seal_webhook(admin.connection, f"{receiver.url}/the-operators", key)
        logs = [EventLog() for _ in range(_SERVICES)]
        for number, log in enumerate(logs):
            live = stack.enter_context(
                LiveRouter(database_url=dsn, app=f"app-{number}", observers=(log,), heartbeat_interval_s=0.5)
            )
            log.wait_for(ConfigApplied)
            load = Load(live.chat_model(), threads=1, pause_s=0.2)
            stack.callback(load.stop)
        api = stack.enter_context(Api(dsn, secret_keys=key))
        yield Night(admin, logs, api, receiver)


class TestNight:
    def test_each_step_is_seen_and_goes(self, night: Night, openai: StandIn, anthropic: StandIn) -> None:
        """In problems, on the page, in metrics, in the log and at the webhook, which hears of errors alone."""
        until(lambda: night.codes() == set())

        openai.fail(Failure.SERVER_ERROR)
        night.await_problems(("warning", "LR321"), ("warning", "LR322"))
        night.await_events(DeploymentCooling)
        assert night.told("gained") == set()

        anthropic.fail(Failure.UNAUTHORIZED)
        night.await_problems(("error", "LR320"), ("error", "LR323"))
        night.await_events(CallFailed, named="default")
        until(lambda: night.told("gained") == {"LR320", "LR323"}, what="the outage at the webhook")
        assert night.told("lost") == set()

        anthropic.heal()
        night.await_events(DeploymentRecovered)
        openai.heal()
        night.await_events(DeploymentRecovered, count=2)
        until(lambda: night.codes() == set(), what="nothing in problems")
        until(lambda: night.told("lost") == {"LR320", "LR323"}, what="the end of the outage at the webhook")
