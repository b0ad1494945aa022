"""What an application's own /metrics tells, and that dashboard and alerts ask for what is there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from liverouter import LiveRouter, metrics
from liverouter.daemon.metrics import Metrics
from liverouter.postgres.repository import SettingsRepository
from liverouter.testing import StandIn
from tests.kit.sql import Process, put
from tests.kit.standins import fallback, primary
from tests.kit.wires import NATIVE_WARNINGS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

pytestmark = [*NATIVE_WARNINGS]

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
_EXPR: Final = re.compile(r"^        expr: ([^\n]{1,400}(?:\n          [^\n]{1,400}){0,9})", re.MULTILINE)
_SERIES: Final = re.compile(r"\b(liverouter_[a-z_]{1,60})(?:\{([^}]{0,200})\})?")
_ASKED: Final = re.compile(r"([a-z_]{1,40})(?:=|!=|=~)")
_GROUPED: Final = re.compile(r"\b(?:by|on) \(([a-z_, ]{1,80})\)")
_SHOWN: Final = re.compile(r"\{\{ ?(?:\$labels\.)?([a-z_]{1,40}) ?\}\}")
_OF_PROMETHEUS: Final = {"instance", "job", "le"}


class TestRegister:
    def test_registry_of_the_application_tells_of_its_calls(
        self, db: psycopg.Connection[Any], dsn: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each call and failed attempt once, per name and deployment; a report that drains counts changes nothing."""
        registry = CollectorRegistry()
        with StandIn("openai") as first, StandIn("anthropic") as second:
            rows = primary(first) | {"llm_fallback_config": fallback(second), "litellm_enable": False}
            rows["llm:fast"] = {"provider": "openai", "model": "gpt-4o-mini", "fallbacks": fallback(second)}
            put(db, **rows, litellm_num_retries=0, litellm_allowed_fails=100)
            for name, value in (first.secrets() | second.secrets()).items():
                monkeypatch.setenv(name.upper(), value)
            with LiveRouter(database_url=dsn, ready_timeout_s=120) as live:
                metrics.register(registry, client=live)
                model = live.chat_model()
                model.invoke("hi")
                first.fail("500")
                model.invoke("hi")
                live.usage.drain()
                list(model.stream("hi"))
                live.chat_model("fast").invoke("hi")
                with pytest.raises(ValueError, match="Duplicated"):
                    metrics.register(registry, client=live)
                found = {
                    (sample.name, sample.labels.get("role", ""), sample.labels.get("name", "")): sample.value
                    for family in registry.collect()
                    for sample in family.samples
                }
        expected = {"calls": (1, 2), "failures": (2, 0), "failovers": (0, 2)}
        for name, (at_primary, at_fallback) in expected.items():
            assert found[f"liverouter_process_{name}_total", "primary", "default"] == at_primary
            assert found[f"liverouter_process_{name}_total", "fallback", "default"] == at_fallback
        assert found["liverouter_process_completion_tokens_total", "fallback", "default"] > 0
        for name, at_fast in {"calls": (0, 1), "failures": (1, 0), "failovers": (0, 1)}.items():
            roles = ("primary", "fallback")
            assert tuple(found[f"liverouter_process_{name}_total", role, "fast"] for role in roles) == at_fast
        assert found["liverouter_process_cooling_seconds", "primary", "fast"] == 0
        assert found["liverouter_revision", "", ""] == 1


class TestDeploy:
    @pytest.fixture
    async def series(self, db: psycopg.Connection[Any], dsn: str) -> dict[str, set[str]]:
        """Return the labels of each series of a daemon, which are those of an application and more, by its name."""
        Process(db).run(0, problems=[{"severity": "error", "code": "LR102", "where": "x", "message": "m", "hint": ""}])
        db.execute(
            "INSERT INTO liverouter.usage_minutes VALUES (gen_random_uuid(), date_trunc('minute', now()),"
            " 'openai/gpt-4o#1', 'primary', 'openai', 'gpt-4o', 1, '{\"Timeout\": 2}', 1, 10, 10, 0.5, 100, 50)"
        )
        registry, repository = CollectorRegistry(), SettingsRepository(url=dsn)
        live = LiveRouter(database_url=dsn)
        live.usage.add_success("openai/gpt-4o#1")
        metrics.register(registry, client=live)
        text = (await Metrics(repository=repository, registry=registry).scrape()).decode()
        await repository.close()
        live.close()
        found: dict[str, set[str]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels)
        return found

    def _expressions(self) -> Iterator[tuple[str, str]]:
        """Yield each expression with the texts that show its labels."""
        dashboard = json.loads((DEPLOY / "grafana" / "liverouter.json").read_text())
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                yield target["expr"], target["legendFormat"]
        rules = (DEPLOY / "prometheus" / "alerts.yml").read_text().split("      - alert: ")[1:]
        for rule in rules:
            (expression,) = _EXPR.findall(rule)
            yield expression, rule

    def test_every_expression_asks_for_series_and_labels_that_exist(self, series: dict[str, set[str]]) -> None:
        """In the dashboard's panels and in the alerts, with what their texts show."""
        expressions = list(self._expressions())
        assert len(expressions) >= 20
        for expression, text in expressions:
            named = _SERIES.findall(expression)
            assert named, expression
            for name, asked in named:
                assert name in series, expression
                known = series[name] | _OF_PROMETHEUS
                assert set(_ASKED.findall(asked)) <= known, expression
                for group in _GROUPED.findall(expression):
                    assert {label.strip() for label in group.split(",")} <= known, expression
                assert set(_SHOWN.findall(text)) <= known, text
