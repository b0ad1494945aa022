"""What stands within rows is judged by SQL as by processes: words, members of objects, what a library would look up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from psycopg.types.json import Jsonb

from liverouter.config.extras import OF_HTTP, OF_OURS
from liverouter.config.params import OF_THINKING, PARAMS
from liverouter.config.settings import SETTINGS
from liverouter.providers import PROVIDERS
from liverouter.providers.parameters import EFFORTS, THINKING
from tests.kit.judges import GOOD, assert_alike, by_database, by_process
from tests.kit.postgres.emptied import one_database
from tests.kit.sql import put, refused, rows, value

if TYPE_CHECKING:
    import psycopg

    Session = psycopg.Connection[Any]

emptied, dsn, db = one_database()

# Rows that name a deployment of Azure's, and entries with it and without.
AZURE: Final = {"azure_openai_endpoint": "https://a.openai.azure.com", "azure_openai_deployment": "prod"}
PLACE: Final = {"provider": "azure-openai", "model": "m"}
PLACED: Final = PLACE | {"deployment": "prod"}
# What litellm alone calls.
ROUTED: Final = {"llm_provider": "litellm", "llm_model": "openrouter/a/b"}
OTHER: Final = {"provider": "litellm", "model": "openrouter/a/b"}
# Of each parameter what both take, with and without what it needs not say.
TAKEN: Final[dict[str, tuple[Any, ...]]] = {
    "top_p": (0, 0.5, 1),
    "reasoning_effort": EFFORTS,
    "thinking": (
        *({"type": "enabled", "budget_tokens": tokens} for tokens in (1, 2048, 1_000_000)),
        *({"type": word} for word in THINKING if word != "enabled"),
        *({"type": "adaptive", "display": word} for word in ("summarized", "omitted", None)),
        {"type": "enabled", "budget_tokens": 2048, "display": "omitted"},
        {"type": "disabled", "budget_tokens": None},
    ),
    "seed": (0, 2**31 - 1),
    "stop": ("x", ["x"], ["x"] * 16, "x" * 500),
    "frequency_penalty": (-2, 0, 1.5),
    "presence_penalty": (-2, 0, 1.5),
    "verbosity": ("low", "medium", "high"),
    "service_tier": ("auto", "default", "flex", "priority", "scale", "standard_only"),
    "extra_body": ({}, {"a": None}, {"a": [{"b": "c"}]}),
    "extra_headers": ({}, {"x-team": "search"}),
}
LOOKED_UP: Final = ("os.environ/HOME", "a os.environ/X", ' "oidc/x', "\u00a0'OIDC/x", "azure_key_vault/k", "my-oidc/x")
WORDS: Final = sorted(
    {"", "hihg", " low ", *(word for p in (*PARAMS.values(), *OF_THINKING.values()) for word in p.words)}
)
bounded = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
words = st.sampled_from([*WORDS, *LOOKED_UP])
numbers = st.sampled_from([0, 1, -1, 1.0, 1.5, 1_000_001, 2**63, 1e30])
scalars = st.none() | st.booleans() | numbers | words | st.sampled_from(["x" * 501, "x" * 8_001, "\u00a0", "a\nb"])
stops = scalars | st.lists(words | st.just("x" * 501) | st.just(3), max_size=17)
thinking = st.dictionaries(st.sampled_from([*OF_THINKING, "budget"]), scalars, max_size=3)
headers = st.dictionaries(
    st.sampled_from(["x-team", "x team", "", "x" * 101, "Host", *sorted(OF_HTTP)]), scalars | st.just(["x"]), max_size=3
)
bodies = st.dictionaries(
    st.sampled_from(["min_p", "provider", "Cookie", "x-jwt", "top_p", *sorted(OF_OURS)]),
    st.recursive(
        scalars | st.just({"secret": "name"}) | st.just("Basic x"),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "auth"]), inner, max_size=2),
        max_leaves=4,
    ),
    max_size=3,
)
params = st.fixed_dictionaries(
    {},
    optional={
        "reasoning_effort": scalars,
        "verbosity": scalars,
        "service_tier": scalars,
        "stop": stops,
        "thinking": thinking | scalars,
        "extra_headers": headers | scalars,
        "extra_body": bodies | scalars,
    },
)
profiles: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
    st.sampled_from(["max_input_tokens", "os.environ/X", "m"]), scalars | st.just([]), max_size=2
)
parts = st.dictionaries(
    st.sampled_from([*(field.name for field in PROVIDERS["litellm"].members), "api_bas", "os.environ/X"]),
    st.sampled_from([3, "", "v1", "a b", "a/b", {"secret": "name"}, {"secret": 3}, {}, "https://h/v1", *LOOKED_UP]),
    max_size=3,
)
models = st.sampled_from(["gemini-2.5-pro", "a/b", "a?b", "..", "a b", "\u00e4", "x" * 129, "os.environ/M"])


class TestTogether:
    def test_both_take_what_each_parameter_may_be(self, db: Session) -> None:
        """In each place, and `set_setting` stores it: a part that need not be there is not missed."""
        assert TAKEN.keys() == PARAMS.keys()
        for name, values in TAKEN.items():
            for own in ({name: taken} for taken in (*values, None)):
                config = GOOD | {"llm_params": own, "llm:fast": {"provider": "openai", "model": "m", "params": own}}
                assert (own, by_process(config), by_database(db, config)) == (own, set(), set())
                for key in ("llm_params", "llm:fast"):
                    value(db, "SELECT liverouter.set_setting(%s, %s)", key, Jsonb(config[key]))

    @bounded
    @given(own=params, others=params)
    def test_both_judge_parameters_alike(self, db: Session, own: dict[str, Any], others: dict[str, Any]) -> None:
        """Words, lists of texts, thinking, headers and members of the body."""
        assert_alike(db, GOOD | {"llm_params": own, "llm:fast": {"provider": "openai", "model": "m", "params": others}})

    @bounded
    @given(row=profiles, member=profiles, model=models)
    def test_both_judge_profiles_and_models_alike(
        self, db: Session, row: dict[str, Any], member: dict[str, Any], model: str
    ) -> None:
        """Of rows and of entries."""
        fast = {"provider": "vertex-ai", "model": model, "project_id": "p", "profile": member}
        assert_alike(db, GOOD | {"llm_profile": row, "llm:fast": fast})

    @bounded
    @given(row=parts, member=parts)
    def test_what_a_process_says_of_members_the_database_says(
        self, db: Session, row: dict[str, Any], member: dict[str, Any]
    ) -> None:
        """Of the object that holds a provider's settings; what is missing there, and secrets, stand elsewhere."""
        model = "openrouter/a/b"
        config = {"llm_provider": "litellm", "llm_model": model, "litellm_params": row}
        config |= {"llm:fast": {"provider": "litellm", "model": model, "litellm_params": member}}
        assert {found for found in by_process(config) if found[0] != "LR102"} <= by_database(db, config)

    @bounded
    @given(
        config=st.dictionaries(
            st.sampled_from([name for name, setting in SETTINGS.items() if setting.kind != "secret"]),
            st.sampled_from(LOOKED_UP) | st.lists(st.sampled_from(LOOKED_UP), max_size=2),
            max_size=3,
        )
    )
    def test_both_see_what_a_library_would_look_up(self, db: Session, config: dict[str, Any]) -> None:
        """In rows that are in use, and in those that are not."""
        assert_alike(db, GOOD | config)

    @pytest.mark.parametrize(
        ("config", "found"),
        [
            ({"litellm_model_name": "fast", "llm:fast": GOOD}, {("LR116", "settings.litellm_model_name")}),
            ({"litellm_model_name": "default"}, {("LR116", "settings.litellm_model_name")}),
            (
                {"llm_fallback_config": {"provider": "openai", "model": " gpt-4o "}},
                {("LR108", "settings.llm_fallback_config")},
            ),
            ({"llm_fallback_config": {"provider": "openai", "model": "gpt-4o", "api_base": "https://gw"}}, set()),
            (
                {"llm:fast": {"provider": "openai", "model": "m", "fallbacks": [{"provider": "openai", "model": "m"}]}},
                {("LR108", "settings.llm:fast.fallbacks")},
            ),
            (AZURE | {"llm_fallback_config": [PLACED, PLACE]}, {("LR108", "settings.llm_fallback_config")}),
            (AZURE | {"llm:fast": PLACED | {"fallbacks": [PLACE]}}, set()),
            (AZURE | {"llm:fast": PLACE | {"fallbacks": [PLACE]}}, {("LR108", "settings.llm:fast.fallbacks")}),
            (AZURE | {"llm_provider": "azure-openai", "llm_fallback_config": [PLACED, PLACE]}, set()),
            (ROUTED | {"litellm_params": '{"api_base": "https://h"}'}, {("LR103", "settings.litellm_params")}),
            (ROUTED | {"litellm_params": None}, set()),
            ({"litellm_params": 3}, set()),
            ({"litellm_params": 3, "llm_fallback_config": OTHER}, set()),
            ({f"llm:m{n}": {"provider": "openai", "model": "m"} for n in range(50)}, set()),
            ({f"llm:m{n}": {"provider": "openai", "model": "m"} for n in range(51)}, {("LR104", "settings")}),
            (
                {
                    f"llm:m{n}": {
                        "provider": "openai",
                        "model": "m",
                        "fallbacks": [{"provider": "openai", "model": f"f{k}"} for k in range(20)],
                    }
                    for n in range(10)
                },
                {("LR104", "settings")},
            ),
            ({"llm_params": {"extra_body": {"a": [0] * 500}}}, {("LR104", "settings.llm_params.extra_body")}),
            ({"llm_params": {"extra_body": {"a": [0] * 499}}}, set()),
            (
                {"llm_params": {"extra_headers": {f"x-{n}": "y" for n in range(21)}}},
                {("LR104", "settings.llm_params.extra_headers")},
            ),
        ],
    )
    def test_both_say_what_rows_say_together(
        self, db: Session, config: dict[str, Any], found: set[tuple[str, str]]
    ) -> None:
        """A name that two have, one deployment twice, too many of them; members that are too many."""
        whole = GOOD | {name: as_entry(member) for name, member in config.items()}
        assert by_process(whole) == by_database(db, whole) == found


def as_entry(member: Any) -> Any:
    """Return *member*; in place of `GOOD`, the entry that says the same."""
    return {"provider": "openai", "model": "m"} if member is GOOD else member


class TestTold:
    def test_words_and_references_stand_in_problems_while_nobody_runs(self, db: Session) -> None:
        """With the hint that a process gives."""
        put(db, **GOOD, llm_params={"reasoning_effort": "hihg"}, openai_api_base="os.environ/BASE")
        found = rows(db, "SELECT code, object, hint FROM liverouter.problems_detail WHERE code <> 'LR102'")
        assert {(row["code"], row["object"]) for row in found} == {
            ("LR104", "settings.llm_params.reasoning_effort"),
            ("LR105", "settings.openai_api_base"),
            ("LR112", "settings.openai_api_base"),
        }
        assert "Write one of none, minimal, low, medium, high, xhigh, max" in {row["hint"] for row in found}

    def test_body_that_a_fallback_does_not_get_is_a_warning(self, db: Session) -> None:
        """As a process says it, which takes the config."""
        body = {"llm_params": {"extra_body": {"a": 1}}, "llm_fallback_config": {"provider": "anthropic", "model": "m"}}
        put(db, **GOOD, **body)
        found = rows(db, "SELECT severity, object FROM liverouter.problems_detail WHERE code = 'LR114'")
        assert found == [{"severity": "warning", "object": "settings.llm_params.extra_body"}]

    @pytest.mark.parametrize(
        ("key", "given", "code"),
        [
            ("llm_params", {"verbosity": "loud"}, "LR104"),
            ("llm_model", "os.environ/MODEL", "LR112"),
            ("llm:fast", {"provider": "openai", "model": "m", "params": {"service_tier": "x"}}, "LR104"),
        ],
    )
    def test_set_setting_refuses_it_at_once(self, db: Session, key: str, given: object, code: str) -> None:
        """No process would take it."""
        with refused(code):
            value(db, "SELECT liverouter.set_setting(%s, %s)", key, Jsonb(given))
