"""`litellm_enable = false`: the primary's own LangChain model behind the same handle; and back, under load."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from langchain_core import exceptions as core

from liverouter import LiveRouter
from liverouter.events import ConfigApplied
from liverouter.testing import EventLog, Failure
from tests.kit.dialects import DIALECTS
from tests.kit.wires import LITELLM_WARNINGS
from tests.kit.world import METHODS, PROMPT, World, ask

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    *LITELLM_WARNINGS,
    # google-genai's own: how it makes its HTTP client, and a coroutine that it leaves unawaited when it raises
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession"),
    pytest.mark.filterwarnings("ignore:.*ClientResponse.json:pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:.*ClientResponse.json:RuntimeWarning"),
]

CLASSES = {
    "anthropic": "ChatAnthropic",
    "openai": "ChatOpenAI",
    "azure-openai": "AzureChatOpenAI",
    "vertex-ai": "ChatGoogleGenerativeAI",
    "vertex-ai claude": "ChatAnthropic",
    "snowflake": "ChatOpenAI",
    "snowflake claude": "ChatOpenAI",
}


@pytest.fixture(scope="module", params=DIALECTS)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """A primary of each dialect with a fallback, litellm off."""
    with World(
        request.param, litellm_enable=False, litellm_num_retries=1, llm_temperature=0.5, llm_max_tokens=100
    ) as made:
        yield made


class TestEveryProvider:
    def test_model_is_the_provider_s_own_class(self, world: World) -> None:
        """No litellm in between: the class that the provider's package gives."""
        generation = world.live.generation()
        assert generation.router is None
        assert type(generation.chat).__name__ == CLASSES[world.dialect.name]

    @pytest.mark.parametrize("method", METHODS)
    def test_primary_answers(self, world: World, method: str) -> None:
        """All four methods work, say who served, and send nothing that the provider does not know."""
        outcome = world.call(method)
        assert (outcome.primary_hits, outcome.fallback_hits) == (1, 0)
        assert str(outcome.answer.content).endswith(PROMPT) or PROMPT in str(outcome.answer.content)
        assert outcome.told["provider"] == world.dialect.provider
        assert outcome.told["role"] == "primary"
        assert outcome.told["failed_over"] is False
        assert outcome.answer.usage_metadata is not None
        assert world.primary.violations == ()

    def test_failure_surfaces_typed(self, world: World) -> None:
        """There is no failover without litellm: the provider's error arrives, as LangChain types it."""
        world.primary.fail(Failure.UNAUTHORIZED)
        with pytest.raises(core.ModelAuthenticationError):
            world.call()
        world.primary.heal()
        assert world.hits()[1] == 0

    @pytest.mark.parametrize("method", ["invoke", "stream"])
    def test_timeout_holds(self, world: World, method: str) -> None:
        """`litellm_timeout` is the native model's timeout too."""
        world.call(method)
        world.live.set(litellm_timeout=0.5)
        world.primary.fail(Failure.HANG)
        with pytest.raises(core.ModelTimeoutError):
            world.call(method)
        world.primary.heal()
        world.live.set(litellm_timeout=60)

    def test_switching_keeps_the_handle(self, world: World) -> None:
        """The same model object serves with litellm, without it, and with it again."""
        assert world.call().role == "primary"
        world.live.set(litellm_enable=True)
        world.primary.fail(Failure.BAD_REQUEST)
        assert world.call().role == "fallback"
        world.primary.heal()
        assert world.call("stream").role == "primary"
        world.live.set(litellm_enable=False)
        assert world.call("stream").role == "primary"


class TestUnderLoad:
    def test_no_call_fails_while_litellm_goes_and_comes_back(self, dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Four callers, ten switches by a row in PostgreSQL: every call is answered, in both ways."""
        events = EventLog()
        monkeypatch.setenv("OPENAI_API_KEY", "sk-key")
        with World("openai", fallback="") as world, psycopg.connect(dsn, autocommit=True) as db:
            _write(db, llm_provider="openai", llm_model="gpt-4o", openai_api_base=world.primary.api_base)
            with LiveRouter(database_url=dsn, observers=(events,)) as live:
                model, stop, errors, served = live.chat_model(), threading.Event(), [], []

                def call(method: str) -> None:
                    while not stop.is_set():
                        enabled = live.status().litellm_enable
                        try:
                            answer = ask(model, method)
                        except Exception as exc:  # noqa: BLE001 - any failure is what the test is about
                            errors.append(exc)
                            return
                        served.append((enabled, answer.response_metadata["liverouter"]["role"]))

                callers = [threading.Thread(target=call, args=(method,)) for method in METHODS]
                for caller in callers:
                    caller.start()
                for number in range(10):
                    revision = _write(db, litellm_enable=bool(number % 2))
                    events.wait_for(ConfigApplied, revision=revision)
                    wanted = len(served) + 8  # some calls in each state
                    while len(served) < wanted and not errors:
                        threading.Event().wait(0.01)
                stop.set()
                for caller in callers:
                    caller.join()
            assert errors == []
            assert {role for _, role in served} == {"primary"}
            assert {enabled for enabled, _ in served} == {True, False}
            assert world.primary.violations == ()


def _write(db: psycopg.Connection[Any], **rows: Any) -> int:
    """Write *rows* in one transaction and return the revision."""
    with db.transaction():
        for key, value in rows.items():
            db.execute(
                "INSERT INTO liverouter.settings (key, value) VALUES (%s, %s)"
                " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                (key, json.dumps(value)),
            )
    row = db.execute("SELECT max(revision) FROM liverouter.revisions").fetchone()
    assert row is not None
    return int(row[0])
