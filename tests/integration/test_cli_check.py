"""`check` and the function behind it: validates, builds, calls each deployment on demand, disturbs nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from liverouter import LiveRouter
from liverouter.config.environment import Environment
from liverouter.engine.check import check
from liverouter.postgres.repository import SettingsRepository
from tests.kit.postgres.emptied import one_database
from tests.kit.sql import put, revision

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    from liverouter.testing import StandIn

    Session = psycopg.Connection[Any]
    Cli = Callable[..., Any]

emptied, dsn, db = one_database()

KEY = "sk-check-not-a-real-key-0123456789"


@pytest.fixture
def standin_options() -> dict[str, Any]:
    """Every stand-in knows one key."""
    return {"accept_keys": [KEY]}


@pytest.fixture
def configured(db: Session, openai: StandIn, anthropic: StandIn, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A database with OpenAI as primary and Anthropic as fallback, both at their stand-ins; keys in the environment."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    put(
        db,
        llm_provider="openai",
        llm_model="gpt-5.4",
        llm_fallback_config={"provider": "anthropic", "model": "claude-sonnet-4-6"},
        openai_api_base=openai.api_base,
        anthropic_api_base=anthropic.api_base,
        litellm_timeout=60,
    )
    return db


class TestCheck:
    def test_config_that_would_serve_is_built_and_not_called(
        self, cli: Cli, configured: Session, openai: StandIn, anthropic: StandIn
    ) -> None:
        """Exit code 0, the deployments by name; no provider hears of it and no revision is made."""
        result = cli("check")
        assert (result.code, result.err) == (0, "")
        assert result.out == "revision 1 would serve: openai/gpt-5.4, anthropic/claude-sonnet-4-6\n"
        assert openai.hits + anthropic.hits == 0
        assert revision(configured) == 1

    def test_every_problem_is_told_with_its_hint(self, cli: Cli, configured: Session) -> None:
        """Exit code 1."""
        put(configured, llm_provider="opnai", litellm_timeout=-1)
        result = cli("check")
        assert (result.code, result.out) == (1, "")
        assert "error: provider 'opnai' is not one of" in result.err
        assert "hint: Did you mean 'openai'?" in result.err
        assert "[LR104 at settings.litellm_timeout]" in result.err
        assert "revision 2 has problems" in result.err

    def test_draft_is_checked_in_place_of_the_rows(self, cli: Cli, configured: Session) -> None:
        """KEY=VALUE lies over what is stored, and is not stored."""
        result = cli("check", "llm_model=gpt-4.1", "llm_fallback_config=null")
        assert result.out == "revision 1 with the draft over it would serve: openai/gpt-4.1\n"
        assert cli("check", "llm_provider=vertex-ai").code == 1
        assert "[LR106 at settings.llm_modle]" in cli("check", "llm_modle=x").err
        assert revision(configured) == 1

    def test_what_a_model_does_not_take_is_a_warning(self, cli: Cli, configured: Session) -> None:
        """It says what is sent instead, and refuses nothing."""
        result = cli("check", "llm_temperature=1.5")
        assert result.code == 0
        assert "takes temperature from 0 to 1: 1 is sent, not 1.5" in result.err
        assert "[LR114 at settings.llm_temperature]" in result.err
        assert revision(configured) == 1

    @pytest.mark.parametrize("key", ["llm_model", "llm_provider", "openai_api_base", "litellm_model_name"])
    def test_key_in_a_plain_setting_is_refused_as_set_refuses_it(self, cli: Cli, configured: Session, key: str) -> None:
        """What the database would not store is a Problem before anything is asked; the key is not repeated."""
        secret = "sk-ant-0123456789abcdef"
        for command in ("check", "set"):
            result = cli(command, f"{key}={secret}")
            assert (result.code, result.out) == (1, "")
            assert f"[LR110 at settings.{key}]" in result.err
            assert secret not in result.err
        assert revision(configured) == 1

    def test_refused_build_is_a_problem(self, cli: Cli, configured: Session, monkeypatch: pytest.MonkeyPatch) -> None:
        """What only shows when it is built: the package that litellm_enable=false needs is missing."""
        monkeypatch.setitem(__import__("sys").modules, "langchain_openai", None)
        result = cli("check", "litellm_enable=false")
        assert result.code == 1
        assert "[LR109 at settings.litellm_enable]" in result.err
        assert "pip install 'liverouter[openai]'" in result.err
        assert revision(configured) == 1


class TestLive:
    def test_each_deployment_is_called_once(
        self, cli: Cli, configured: Session, openai: StandIn, anthropic: StandIn
    ) -> None:
        """Primary and fallback alike: who answered, in how many ms, at what cost."""
        result = cli("check", "--live", "--json")
        assert result.code == 0
        report = result.json
        assert (report["ok"], report["revision"]) == (True, 1)
        assert [(c["provider"], c["answered_by"], c["role"], c["problem"]) for c in report["calls"]] == [
            ("openai", "gpt-5.4", "primary", None),
            ("anthropic", "claude-sonnet-4-6", "fallback", None),
        ]
        assert all(call["duration_ms"] > 0 and call["cost_usd"] > 0 for call in report["calls"])
        assert (openai.hits, anthropic.hits) == (1, 1)
        asked = openai.requests[0].body
        assert asked is not None
        assert asked["max_completion_tokens"] <= 16
        assert KEY not in result.out
        table = cli("check", "--live").out
        assert "openai/gpt-5.4" in table
        assert all(float(line.split()[-1]) > 0 for line in table.splitlines()[1:3])  # a hundredth of a cent, too
        assert revision(configured) == 1

    @pytest.mark.usefixtures("configured")
    def test_deployment_that_fails_is_named_with_its_cause(self, cli: Cli, openai: StandIn, anthropic: StandIn) -> None:
        """The fallback does not cover up for the primary; one request, no retry, no secret in the error."""
        openai.fail("401")
        result = cli("check", "--live")
        assert result.code == 1
        assert "error: openai/gpt-5.4 did not answer: the provider does not know the key, HTTP 401" in result.err
        assert "hint: Check environment OPENAI_API_KEY" in result.err
        assert "anthropic/claude-sonnet-4-6" in result.out
        assert (openai.hits, anthropic.hits) == (1, 1)
        assert KEY not in result.out + result.err

    @pytest.mark.parametrize("failure", ["500", "404", "429", "refused", "reset", "hang", "empty"])
    def test_every_kind_of_failure_is_one_problem(
        self, cli: Cli, configured: Session, openai: StandIn, monkeypatch: pytest.MonkeyPatch, failure: str
    ) -> None:
        """Each ends by the configured timeout, with a code and a hint; the server is asked once."""
        monkeypatch.setattr("liverouter.engine.probes._GRACE_S", 3600.0)  # it is not this which ends it
        put(configured, litellm_timeout=1, llm_fallback_config=None)
        openai.fail(failure)
        (call,) = cli("check", "--live", "--json").json["calls"]
        assert call["problem"]["code"] in ("LR302", "LR304", "LR307", "LR310")
        assert call["problem"]["hint"]
        assert call["answered_by"] is None
        assert call["duration_ms"] < 60_000
        assert openai.hits <= 1

    def test_each_deployment_is_called_where_litellm_is_off(
        self, cli: Cli, configured: Session, openai: StandIn, anthropic: StandIn
    ) -> None:
        """The providers' own classes fail over as well, so each is called."""
        put(configured, litellm_enable=False)
        report = cli("check", "--live", "--json").json
        called = [(call["provider"], call["problem"]) for call in report["calls"]]
        assert called == [("openai", None), ("anthropic", None)]
        assert (openai.hits, anthropic.hits) == (1, 1)

    def test_fallback_that_would_not_serve_is_a_warning_and_not_called(
        self, cli: Cli, configured: Session, openai: StandIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As it is in a client: litellm alone serves it, and litellm is off."""
        monkeypatch.setenv("LIVEROUTER_SECRET_SPARE", KEY)
        held = {"api_key": {"secret": "spare"}}
        groq = {"provider": "litellm", "model": "groq/llama-3.3-70b-versatile", "litellm_params": held}
        put(configured, litellm_enable=False, llm_fallback_config=groq)
        report = cli("check", "--live", "--json").json
        assert {(problem["code"], problem["severity"]) for problem in report["problems"]} == {("LR117", "warning")}
        assert [(call["provider"], call["problem"]) for call in report["calls"]] == [("openai", None)]
        assert openai.hits == 1


class TestBesideAClient:
    @pytest.mark.usefixtures("configured")
    async def test_running_client_is_not_disturbed(self, dsn: str, openai: StandIn) -> None:
        """Failing checks of the very deployments it uses neither cool them nor change timeout, prices, callbacks."""
        import litellm

        async with LiveRouter(database_url=dsn) as live:
            model = live.chat_model()
            assert (await model.ainvoke("hi")).response_metadata["liverouter"]["role"] == "primary"
            repository = SettingsRepository(url=dsn)
            raw = await repository.read()
            await repository.close()
            before = (litellm.request_timeout, set(litellm.model_cost), len(litellm.callbacks))
            openai.fail("401", times=5)
            for _ in range(5):
                report = await check(raw, environment=Environment(), keyring=None, live=True, io=live.io)
                assert [call.problem is None for call in report.calls] == [False, True]
            assert before == (litellm.request_timeout, set(litellm.model_cost), len(litellm.callbacks))
            hits = openai.hits
            answer = await model.ainvoke("hi")
            assert answer.response_metadata["liverouter"]["role"] == "primary"
            assert openai.hits == hits + 1

    @pytest.mark.usefixtures("configured")
    def test_report_is_plain_data(self, cli: Cli) -> None:
        """As the page gets it."""
        report = cli("check", "--json").json
        assert set(report) == {"ok", "revision", "problems", "deployments", "calls"}
        json.dumps(report)
