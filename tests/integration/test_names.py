"""Named models: each name serves by its own row, all of a revision together, in both engines."""

from __future__ import annotations

import copy
import functools
import pickle
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pytest
from langchain_core.callbacks import BaseCallbackHandler

import liverouter
from liverouter.config.environment import Environment
from liverouter.engine.check import check
from liverouter.errors import ConfigError, ModelNameError
from liverouter.events import CallFailedOver, ConfigApplied, ModelAsked
from liverouter.revision import Rows
from liverouter.testing import EventLog, MemoryRouter, StandIn
from tests.kit.admin import Admin
from tests.kit.standins import bodies, primary, served
from tests.kit.world import METHODS, ask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ENGINES: Final = pytest.mark.parametrize("enabled", [True, False])
MINI: Final[dict[str, Any]] = {"provider": "openai", "model": "gpt-4o-mini"}
FAST: Final[dict[str, Any]] = MINI | {"fallbacks": {"provider": "anthropic", "model": "claude-haiku-4-5"}}
BUDGET: Final = {"type": "enabled", "budget_tokens": 2000}


def live_names(anthropic: StandIn, openai: StandIn, **rows: Any) -> MemoryRouter:
    """Return a client, to be entered, with the keys and bases of both."""
    everything = {**primary(anthropic), **openai.rows(), "litellm_timeout": 60, **rows}
    return MemoryRouter(everything, secrets=anthropic.secrets() | openai.secrets())


@pytest.fixture
def names(openai: StandIn, anthropic: StandIn) -> Iterator[MemoryRouter]:
    """A client without litellm, which "fast" is configured in."""
    with live_names(anthropic, openai, **{"litellm_enable": False, "llm:fast": FAST}) as found:
        yield found


class TestServing:
    @ENGINES
    def test_each_name_is_served_by_its_row(self, openai: StandIn, anthropic: StandIn, *, enabled: bool) -> None:
        """By every method; a name that no row configures serves as the default does, and follows its row at once."""
        with live_names(anthropic, openai, **{"litellm_enable": enabled, "llm:fast": FAST}) as client:
            models = {name: client.chat_model(name) for name in ("default", "fast", "planner")}
            for method in METHODS:
                told = {name: served(ask(model, method)) for name, model in models.items()}
                assert {name: (t["model"], t["name"]) for name, t in told.items()} == {
                    "default": ("claude-sonnet-4-6", "default"),
                    "fast": ("gpt-4o-mini", "fast"),
                    "planner": ("claude-sonnet-4-6", "default"),
                }
            client.set(**{"llm:planner": MINI | {"model": "gpt-4.1"}, "llm:fast": None})
            told = {name: served(model.invoke("hi")) for name, model in models.items()}
            assert [(t["model"], t["name"], t["revision"]) for t in told.values()] == [
                ("claude-sonnet-4-6", "default", 2),
                ("claude-sonnet-4-6", "default", 2),
                ("gpt-4.1", "planner", 2),
            ]

    @ENGINES
    def test_a_name_fails_over_by_its_own_fallbacks(
        self, openai: StandIn, anthropic: StandIn, *, enabled: bool
    ) -> None:
        """One cooldown for one place, whoever asks it; events, counts and reports say whose call it was."""
        rows = {"litellm_enable": enabled, "llm:fast": FAST, "llm:other": FAST | {"params": {"seed": 1}}}
        events = EventLog()
        everything = {**primary(anthropic), **openai.rows(), "litellm_num_retries": 1, **rows}
        keys = anthropic.secrets() | openai.secrets()
        with MemoryRouter(everything, secrets=keys, observers=(events,)) as client:
            openai.fail("401", times=1)
            answer = served(client.chat_model("fast").invoke("hi"))
            assert (answer["model"], answer["role"], answer["name"]) == ("claude-haiku-4-5", "fallback", "fast")
            other = served(client.chat_model("other").invoke("hi"))
            assert (other["model"], other["failed_over"], other["attempts"]) == ("claude-haiku-4-5", True, 1)
            assert [event.model for event in events.of(CallFailedOver)] == ["fast", "other"]
            rows_of = client.usage.drain()
            assert {(row["name"], row["model"], row["role"], row["failovers"]) for row in rows_of} == {
                ("fast", "gpt-4o-mini", "primary", 0),
                ("fast", "claude-haiku-4-5", "fallback", 1),
                ("other", "claude-haiku-4-5", "fallback", 1),
            }
            client.usage.restore(rows_of)
            assert client.usage.drain() == rows_of

    @ENGINES
    async def test_the_router_knows_the_names(self, openai: StandIn, anthropic: StandIn, *, enabled: bool) -> None:
        """Its own callers ask for a name as well; without litellm there is none."""
        with live_names(anthropic, openai, **{"litellm_enable": enabled, "llm:fast": FAST}) as client:
            router: Any = client.generation().router
            if not enabled:
                assert router is None
                return
            messages = [{"role": "user", "content": "hi"}]
            for name, standin in (("fast", openai), ("ekaiX-model", anthropic)):
                before = standin.hits
                await router.acompletion(model=name, messages=messages)
                assert standin.hits == before + 1

    def test_traces_say_the_name(self, names: MemoryRouter) -> None:
        """From the beginning of a run, as its model is."""
        seen: list[dict[str, Any]] = []

        class Started(BaseCallbackHandler):
            def on_chat_model_start(self, *_: Any, metadata: dict[str, Any] | None = None, **__: Any) -> None:
                seen.append(dict(metadata or {}))

        names.chat_model("fast").invoke("hi", config={"callbacks": [Started()]})
        assert (seen[0]["liverouter_name"], seen[0]["ls_model_name"]) == ("fast", "gpt-4o-mini")


class TestHandle:
    def test_a_handle_is_built_once_for_each_name(self, names: MemoryRouter) -> None:
        """`get_chat_model` hands out the same one; "default" is the default."""
        assert liverouter.get_chat_model("fast") is liverouter.get_chat_model("fast")
        assert liverouter.get_chat_model("default") is liverouter.get_chat_model()
        assert liverouter.get_chat_model("fast").invoke("hi").content == "gpt-4o-mini says: hi"
        one, same, other = (names.chat_model(name) for name in ("fast", "fast", "planner"))
        assert (one, hash(one)) == (same, hash(same))
        assert one != other

    @pytest.mark.parametrize("name", ["Fast", "", "a b", "a" * 33, None, 3])
    def test_a_name_that_no_row_can_have_is_refused(self, names: MemoryRouter, name: Any) -> None:
        """At once, with what a name looks like."""
        with pytest.raises(ModelNameError, match="begins with a-z") as caught:
            names.chat_model(name)
        assert caught.value.code == "LR116"
        with pytest.raises(ModelNameError):
            liverouter.get_chat_model(name)

    def test_copies_and_pinned_handles_keep_their_name(self, names: MemoryRouter) -> None:
        """A copy follows the name's row; a pinned one stays."""
        model = names.chat_model("fast")
        pinned, copied = model.pinned(), copy.deepcopy(model)
        names.set(**{"llm:fast": MINI | {"model": "gpt-4.1"}})
        told = [served(one.invoke("hi")) for one in (pinned, copied, model.bind(temperature=0.5))]
        assert [(t["model"], t["name"]) for t in told] == [
            ("gpt-4o-mini", "fast"),
            ("gpt-4.1", "fast"),
            ("gpt-4.1", "fast"),
        ]

    @ENGINES
    def test_name_that_goes_while_it_is_in_use(self, openai: StandIn, anthropic: StandIn, *, enabled: bool) -> None:
        """A stream ends as it began, a pinned handle stays, every other one is served as the default is."""
        with live_names(anthropic, openai, **{"litellm_enable": enabled, "llm:fast": FAST}) as client:
            fast = client.chat_model("fast")
            pinned, chunks = fast.pinned(), fast.stream("hi")
            first = next(chunks)
            client.set(**{"llm:fast": None, "llm:quick": FAST})
            answers = (
                sum(chunks, first),
                pinned.invoke("hi"),
                fast.invoke("hi"),
                client.chat_model("quick").invoke("hi"),
            )
            assert [(told["name"], told["model"], told["revision"]) for told in map(served, answers)] == [
                ("fast", "gpt-4o-mini", 1),
                ("fast", "gpt-4o-mini", 1),
                ("default", "claude-sonnet-4-6", 2),
                ("quick", "gpt-4o-mini", 2),
            ]

    def test_a_pickled_handle_asks_for_its_name(self, names: MemoryRouter) -> None:
        """As `get_chat_model` has it made again, in another process by another client."""
        model = names.chat_model("fast")
        model.restore = functools.partial(liverouter.get_chat_model, "fast")
        restored = pickle.loads(pickle.dumps(model))  # noqa: S301 - our own
        assert restored.invoke("hi").content == "gpt-4o-mini says: hi"

    def test_what_a_name_can_do_is_its_own(self, names: MemoryRouter) -> None:
        """Profile, logical name, tokens and the key of LLM caches; a row that says the same has the same cache."""
        names.set(llm_max_tokens=77, **{"llm:twin": FAST, "llm:hot": FAST | {"temperature": 1.5}})
        default, fast, twin, hot = (names.chat_model(name) for name in ("default", "fast", "twin", "hot"))
        limits = [(model.profile or {}).get("max_input_tokens", 0) for model in (default, fast)]
        assert limits[0] > limits[1] == 128_000
        assert (default.max_tokens, fast.max_tokens) == (77, None)
        assert fast.model_name == "gpt-4o-mini"
        keys = [model._identifying_params for model in (default, fast, twin, hot)]  # noqa: SLF001 - what caches read
        assert keys[1] == keys[2]
        assert len({str(key) for key in keys}) == 3

    def test_the_logical_name_of_a_name_is_its_own(self, openai: StandIn, anthropic: StandIn) -> None:
        """With litellm, in traces and metrics."""
        with live_names(anthropic, openai, **{"llm:fast": FAST}) as client:
            assert client.chat_model("fast").model_name == "fast"
            assert client.chat_model("planner").model_name == client.chat_model().model_name == "ekaiX-model"


class TestParameters:
    @ENGINES
    def test_rows_are_sent_in_the_words_of_each_provider(
        self, openai: StandIn, anthropic: StandIn, *, enabled: bool
    ) -> None:
        """As a caller's own would be, for the primary, a fallback and a name; the same place with others of its own."""
        headers = {"user-agent": "our own"}
        rows = {
            "litellm_enable": enabled,
            "llm_params": {"reasoning_effort": "low", "stop": "end", "extra_headers": headers},
            "llm_max_tokens": 3000,
            "llm:fast": MINI | {"params": {"top_p": 0.5, "seed": 7, "extra_body": {"logit_bias": {"1": 2}}}},
            "llm:tall": MINI | {"params": {"seed": 8}, "temperature": 0.25},
        }
        with live_names(anthropic, openai, **rows) as client:
            client.chat_model().invoke("hi")
            body, sent = bodies(anthropic)[-1], anthropic.requests[-1]
            assert (body["thinking"]["type"], body["max_tokens"]) == ("adaptive", 3000)
            assert body["output_config"]["effort"] == "low"
            assert body["stop_sequences"] == ["end"]
            assert sent.headers["user-agent"] == "our own"
            client.chat_model("fast").invoke("hi")
            assert _of(openai, "top_p", "seed", "logit_bias", "temperature") == (0.5, 7, {"1": 2}, None)
            ask(client.chat_model("tall"), "astream")
            assert _of(openai, "top_p", "seed", "logit_bias", "temperature") == (None, 8, None, 0.25)

    @ENGINES
    def test_a_callers_own_parameters_win(self, openai: StandIn, anthropic: StandIn, *, enabled: bool) -> None:
        """Also where a model takes only one of two, or one wish has two ways of being said."""
        rows = {
            "litellm_enable": enabled,
            "llm_temperature": 0.2,
            "llm_params": {"extra_headers": {"user-agent": "our own"}},
            "llm:thinker": {"provider": "anthropic", "model": "claude-haiku-4-5", "params": {"thinking": BUDGET}},
        }
        with live_names(anthropic, openai, **rows) as client:
            client.chat_model().invoke("hi", top_p=0.5)
            assert _of(anthropic, "temperature", "top_p") == (None, 0.5)
            assert anthropic.requests[-1].headers["user-agent"] == "our own"
            client.chat_model("thinker").invoke("hi", reasoning_effort="low")
            assert _of(anthropic, "thinking") == ({"type": "enabled", "budget_tokens": 1024},)
            client.chat_model("thinker").invoke("hi", temperature=0.5)
            assert _of(anthropic, "temperature", "thinking") == (0.5, None)
            client.chat_model("thinker").invoke("hi")
            assert _of(anthropic, "temperature", "thinking") == (None, BUDGET)

    @ENGINES
    @pytest.mark.parametrize("method", METHODS)
    def test_a_silent_deployment_has_its_own_time(
        self, openai: StandIn, anthropic: StandIn, method: str, *, enabled: bool
    ) -> None:
        """Whole answers and streams by `timeout`; the first content of a stream by its own."""
        streams = "stream" in method
        own = {"first_token_timeout": 0.3, "timeout": 3000} if streams else {"timeout": 0.3}
        spare = {"provider": "anthropic", "model": "claude-haiku-4-5"}
        rows = {"litellm_enable": enabled, "llm:fast": MINI | own | {"fallbacks": spare}}
        with live_names(anthropic, openai, **rows) as client, openai.hold():
            assert served(ask(client.chat_model("fast"), method))["model"] == "claude-haiku-4-5"

    @ENGINES
    @pytest.mark.parametrize("method", ["invoke", "stream"])
    def test_a_longer_time_of_its_own_is_given(
        self, openai: StandIn, anthropic: StandIn, method: str, *, enabled: bool
    ) -> None:
        """No library's clock, by the common time, cuts short what a row gives longer."""
        rows = {"litellm_enable": enabled, "litellm_timeout": 0.2, "llm:fast": FAST | {"timeout": 50}}
        openai.delay(0.5)
        with live_names(anthropic, openai, **rows) as client:
            told = served(ask(client.chat_model("fast"), method))
            assert (told["model"], told["attempts"]) == ("gpt-4o-mini", 1)

    def test_equals_share_the_calls_by_decimals(self, openai: StandIn, anthropic: StandIn) -> None:
        """A weight of 0.001 beside one of 1000 is hardly ever asked; both are of order 1."""
        equal = {"provider": "anthropic", "model": "claude-haiku-4-5", "order": 1, "weight": 0.001}
        rows = {"litellm_enable": False, "llm:fast": MINI | {"weight": 1000, "fallbacks": equal}}
        with live_names(anthropic, openai, **rows) as client:
            view = client.generation().named("fast")
            assert [(d.model, d.order, d.weight) for d in view.deployments] == [
                ("gpt-4o-mini", 1, 1000.0),
                ("claude-haiku-4-5", 1, 0.001),
            ]
            model = client.chat_model("fast")
            assert {served(model.invoke("hi"))["model"] for _ in range(5)} == {"gpt-4o-mini"}


class TestSwaps:
    def test_a_bad_row_of_one_name_changes_nothing(self, names: MemoryRouter) -> None:
        """All names of a revision go live together, or none."""
        model = names.chat_model("fast")
        with pytest.raises(ConfigError):
            names.set(llm_model="claude-opus-5", **{"llm:fast": MINI | {"params": {"top_p": 3}}})
        assert served(names.chat_model().invoke("hi"))["model"] == "claude-sonnet-4-6"
        assert served(model.invoke("hi"))["revision"] == 1


class TestTold:
    def test_a_name_that_no_row_configures_is_told(
        self, dsn: str, openai: StandIn, wait_until: Callable[..., None]
    ) -> None:
        """In the process's status and in SQL, with the app that asks, until the row comes."""
        admin, events = Admin(dsn), EventLog()
        admin.set(**openai.rows("gpt-5.4"), litellm_enable=False)
        key = openai.secrets()["openai_api_key"]
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("OPENAI_API_KEY", key)
            with liverouter.LiveRouter(database_url=dsn, app="shop", observers=(events,)) as client:
                model = client.chat_model("fast")
                client.chat_model("fast")
                assert [(e.model, e.app) for e in events.of(ModelAsked)] == [("fast", "shop")]
                (problem,) = client.status().problems
                assert (problem.code, problem.severity, problem.where) == ("LR115", "info", "settings.llm:fast")
                assert "'shop'" in problem.message
                told = "SELECT object FROM liverouter.problems WHERE code = 'LR115' AND message LIKE '%''shop''%'"
                wait_until(lambda: admin.ask(told) is not None)
                assert model.invoke("hi").content == "gpt-5.4 says: hi"
                revision = admin.set(**{"llm:fast": MINI | {"model": "gpt-5.4-mini"}})
                events.wait_for(ConfigApplied, revision=revision)
                assert client.status().problems == ()
                assert model.invoke("hi").content == "gpt-5.4-mini says: hi"
        admin.close()

    async def test_check_calls_the_deployments_of_each_name(self, openai: StandIn, anthropic: StandIn) -> None:
        """Each under its name, with its own parameters."""
        named = {"litellm_enable": False, "llm:fast": FAST | {"temperature": 0.5}}
        rows = Rows("e", 1, "c", datetime.now(UTC), 0.0, {**primary(anthropic), **openai.rows(), **named}, {})
        keys = {name.upper(): key for name, key in (anthropic.secrets() | openai.secrets()).items()}
        report = await check(rows, environment=Environment(keys), keyring=None, live=True)
        assert report.ok, report
        assert report.deployments == (
            "anthropic/claude-sonnet-4-6",
            "fast: openai/gpt-4o-mini",
            "fast: anthropic/claude-haiku-4-5",
        )
        assert [(c.name, c.model, c.role) for c in report.calls] == [
            ("default", "claude-sonnet-4-6", "primary"),
            ("fast", "gpt-4o-mini", "primary"),
            ("fast", "claude-haiku-4-5", "fallback"),
        ]
        assert _of(openai, "temperature") == (0.5,)


def _of(standin: StandIn, *names: str) -> tuple[Any, ...]:
    """Return members of the newest body that *standin* was sent."""
    body = bodies(standin)[-1]
    return tuple(body.get(name) for name in names)
