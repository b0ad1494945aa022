"""What every process takes, SQL takes: no row that serves is refused in psql, or stands in `problems`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from hypothesis import HealthCheck, assume, given, settings, strategies as st
from psycopg.types.json import Jsonb

from liverouter.config.environment import Environment
from liverouter.config.members import MEMBERS
from liverouter.config.validate import validate
from liverouter.providers import PROVIDERS
from liverouter.revision import Rows
from tests.integration.test_sql_judged_parts import TAKEN
from tests.kit.judges import by_database
from tests.kit.postgres.emptied import one_database
from tests.kit.sql import value

if TYPE_CHECKING:
    import psycopg

    from liverouter.providers import Field, ProviderSpec

    Session = psycopg.Connection[Any]

emptied, dsn, db = one_database()

BASES: Final = ("https://gw", "https://gw/v1/", "https://gw:8443", "http://127.0.0.1:9/x", "HTTPS://gw/\u00e9")
KEYS: Final = Environment(
    {name.upper(): "k" for spec in PROVIDERS.values() for name in spec.secret_names if name != "vertex_ai_credentials"}
    | {"LIVEROUTER_SECRET_TEAM": "t", "LIVEROUTER_API_BASES": "https://gw,https://gw:8443"}
)
MODELS: Final = {"litellm": ("openrouter/a/b", "groq/x-1", "mistral/m"), "vertex-ai": ("gemini-2.5-pro",)}
NEEDED: Final = {"azure_openai_endpoint", "vertex_ai_project_id", "snowflake_account", "openai_compatible_api_base"}
parameters = st.lists(st.sampled_from(sorted(TAKEN)), max_size=3).flatmap(
    lambda names: st.fixed_dictionaries({name: st.sampled_from(TAKEN[name]) for name in names})
)
of_members = {
    "params": parameters,
    "profile": st.sampled_from([{}, {"max_input_tokens": 1000, "image_inputs": False}]),
    "order": st.just(1),
    **{
        name: st.sampled_from([setting.high, 1])
        for name, setting in MEMBERS.items()
        if name != "order" and setting.kind in ("number", "integer")
    },
}


def of_field(field: Field) -> st.SearchStrategy[Any]:
    """Return what *field* may be."""
    if field.kind == "secret":
        return st.just({"secret": "team"})
    if field.kind == "url":
        return st.sampled_from(BASES)
    if field.kind == "json":
        return st.sampled_from([{"api_key": {"secret": "team"}}, {"api_base": "https://gw/v1"}])
    return st.sampled_from([field.example or "v1", "eu-west-1", " us "])


def of_provider(spec: ProviderSpec) -> st.SearchStrategy[dict[str, Any]]:
    """Return entries of *spec*."""
    fields = {field.name: of_field(field) for field in spec.fields if field.read is None}
    said = {name: given for name, given in fields.items() if name in NEEDED}
    model = st.sampled_from(MODELS.get(spec.name, ("m", "gpt-4o", "a.b-c:1")))
    optional = {name: given | st.none() for name, given in fields.items() if name not in said}
    return st.fixed_dictionaries(
        {"provider": st.just(spec.name), "model": model, **said}, optional=optional | of_members
    )


entries = st.sampled_from(sorted(PROVIDERS)).flatmap(lambda name: of_provider(PROVIDERS[name]))
fallbacks = st.none() | entries | st.lists(entries, max_size=2)


class TestTaken:
    @settings(suppress_health_check=list(HealthCheck), max_examples=150, deadline=None)
    @given(entry=entries, behind=fallbacks, own=parameters, others=fallbacks)
    def test_what_serves_is_no_problem_and_can_be_stored(
        self, db: Session, entry: dict[str, Any], behind: Any, own: dict[str, Any], others: Any
    ) -> None:
        """Fields, members and parameters of each provider, as a named model and as fallbacks."""
        config = {"llm_provider": "openai", "llm_model": "gpt-4o", "llm_params": own, "llm_fallback_config": others}
        config["llm:fast"] = entry | {"fallbacks": behind}
        raw = Rows("e", 1, "c", datetime(2026, 11, 23, tzinfo=UTC), 0.0, config, {})
        assume(validate(raw, environment=KEYS, keyring=None).snapshot is not None)
        told = by_database(db, config)
        assert {found for found in told if found[0] != "LR114"} == set()  # that is a warning, of processes as well
        for key in ("llm:fast", "llm_params", "llm_fallback_config"):
            value(db, "SELECT liverouter.set_setting(%s, %s)", key, Jsonb(config[key]))
