"""Whatever stands in rows and environment: a Snapshot or Problems, never an exception, never a leaked secret."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from hypothesis import HealthCheck, example, given, settings, strategies as st

from liverouter.config import params as read_params
from liverouter.config.environment import Environment
from liverouter.config.settings import SETTINGS
from liverouter.config.validate import Validation, validate
from liverouter.errors import CODES
from liverouter.providers import PROVIDERS
from liverouter.revision import Rows, SealedSecret
from liverouter.secrecy.sealing import Keyring, Secret, fingerprint, generate_key, seal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hypothesis.strategies import SearchStrategy

KEYRING: Final = Keyring.from_text(generate_key())
STRANGER: Final = Keyring.from_text(generate_key())
SECRET: Final = "hush-hush-0123456789"
SECRET_NAMES: Final = [name for spec in PROVIDERS.values() for name in spec.secret_names]
MODELS: Final = ["llm:fast", "llm:planner"]
PARAMS: Final = (*read_params.PARAMS, "temperature", "x")
MEMBERS: Final = [
    *("provider", "model", "temperature", "max_tokens", "order", "weight", "profile", "params", "fallbacks"),
    *("timeout", "first_token_timeout"),
    *{name for spec in PROVIDERS.values() for f in spec.fields for name in (f.name, f.alias) if name},
    *("snowflake_user", "api_kye"),
]
NAMES: Final = [*SETTINGS, "snowflake_user", "snowflake_password", "llm_modle", "my_own_row", *MODELS, "llm:Fast"]

# What jsonb can hold: no NUL, no lone surrogate, no NaN; numbers of any size.
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
numbers = st.integers() | st.floats(allow_nan=False) | st.sampled_from([0, 1, 2, 1.5, 10**400, -1, 1e308])
json_values = st.recursive(
    st.none() | st.booleans() | numbers | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=8,
)
likely_text = st.sampled_from(
    [*PROVIDERS, "azure", "claude-sonnet-4-6", "gpt-4o", "", " ", "true", "0.2", "x" * 3000, "\x07", SECRET]
)
urls = st.sampled_from(
    [
        *("https://api.example", "http://127.0.0.1:1/v1", "https://u:p@h", "ftp://h", "https://[::1", "//h"),
        *(
            "https://h:99999",
            "https://h/a b",
            "https://",
            "https://h\t.example/",
            "https://\uff48.example/",
            "https://[v1.x]/",
        ),
    ]
)
plausible = likely_text | urls | numbers | st.booleans() | st.none()
references = st.builds(lambda name: {"secret": name}, st.sampled_from([*SECRET_NAMES, "mine", ""]) | text)
entries = st.dictionaries(st.sampled_from(MEMBERS) | text, plausible | references | json_values, max_size=9)
held = st.dictionaries(
    st.sampled_from([*(f.name for spec in PROVIDERS.values() for f in spec.members), "base_url"]),
    plausible | references | json_values,
    max_size=4,
)
valid_entries = st.builds(
    lambda provider, rest: rest | {"provider": provider, "model": model_of(provider)},
    st.sampled_from(list(PROVIDERS)),
    entries | st.builds(lambda rest, value: rest | {"litellm_params": value}, entries, held),
)
fallbacks = st.lists(valid_entries | entries | json_values, max_size=3) | valid_entries | json_values
params = st.dictionaries(
    st.sampled_from(PARAMS), plausible | json_values | st.sampled_from(["low", {"type": "adaptive"}])
)


def model_of(provider: str) -> str:
    """Return a model that *provider* may be asked for."""
    return "groq/m" if PROVIDERS[provider].members else "m"


def _value(name: str) -> SearchStrategy[Any]:
    if name == "llm_params":
        return params
    if name == "litellm_params":
        return held | json_values
    if name in MODELS:
        more = st.fixed_dictionaries({}, optional={"fallbacks": fallbacks, "params": params})
        return st.builds(lambda entry, rest: entry | rest, valid_entries, more) | json_values
    return fallbacks if name == "llm_fallback_config" else plausible | json_values


@st.composite
def rows(draw: st.DrawFn) -> dict[str, Any]:
    """Settings rows, some of them right."""
    found: dict[str, Any] = {}
    if draw(st.booleans()):
        provider = draw(st.sampled_from(list(PROVIDERS)))
        found |= {"llm_provider": provider, "llm_model": draw(st.sampled_from(["m", model_of(provider)]))}
    for name in draw(st.lists(st.sampled_from(NAMES) | text, max_size=6)):
        found[name] = draw(_value(name))
    return found


@st.composite
def sealed_secrets(draw: st.DrawFn) -> dict[str, SealedSecret]:
    """Secrets rows: good, sealed by strangers, moved from another name, not sealed at all."""
    values = [SECRET, "eyJ" + SECRET + ".a.b", '{"project_id": "p", "private_key": "' + SECRET + '"}', "[" * 100_000]
    found = {}
    for name in draw(st.lists(st.sampled_from([*SECRET_NAMES, "mine"]) | text, max_size=4)):
        secret = Secret(draw(st.sampled_from(values)))
        kind = draw(st.sampled_from(["good", "good", "stranger", "moved", "garbage"]))
        match kind:
            case "good":
                envelope = seal(name, secret, KEYRING)
            case "stranger":
                envelope = seal(name, secret, STRANGER)
            case "moved":
                envelope = seal(name + "x", secret, KEYRING)
            case _:
                envelope = draw(text)
        found[name] = SealedSecret(envelope, fingerprint(secret))
    return found


# What an operating system can hold: bytes that are no UTF-8 come as lone surrogates.
env_text = (
    st.text(st.characters(exclude_characters="\0"), max_size=40)
    | plausible.map(str)
    | fallbacks.map(json.dumps)
    | st.sampled_from(
        [SECRET, "NaN", "Infinity", "1e999", '"\\u0000"', '{"provider": "\\ud800"}', "[" * 100_000, "sk-\udcff"]
    )
)
environments = st.dictionaries(
    st.sampled_from([name.upper() for name in (*SETTINGS, "mine")]), env_text, max_size=5
) | st.dictionaries(
    st.sampled_from([f"{name.upper()}_FILE" for name in SETTINGS]),
    st.sampled_from(["/dev/null", "/", "/does/not/exist", "\udcff", "x" * 5000]),
    max_size=2,
)


def check(raw: Rows, environ: Mapping[str, str], keyring: Keyring | None = KEYRING) -> Validation:
    """Validate and check everything that holds for any outcome."""
    validation = validate(raw, environment=Environment(environ), keyring=keyring)
    severities = [p.severity for p in validation.problems]
    assert severities == sorted(severities), "errors come first"
    assert (validation.snapshot is None) == ("error" in severities)
    for problem in validation.problems:
        assert problem.code in CODES
        assert problem.message
        assert problem.where
        assert problem.hint
        stored = json.dumps(problem.as_dict(), ensure_ascii=False)
        assert stored.encode(), "PostgreSQL takes it"
        assert not any("\0" in value for value in problem.as_dict().values()), "PostgreSQL takes it"
        assert len(stored) < 2000
    _check_secrets(validation)
    _check_snapshot(validation)
    again = validate(raw, environment=Environment(environ), keyring=keyring)
    assert again.problems == validation.problems
    if validation.snapshot is not None and again.snapshot is not None:
        assert again.snapshot.digest == validation.snapshot.digest
    return validation


def _check_secrets(validation: Validation) -> None:
    secrets = (
        [] if validation.snapshot is None else [s for d in validation.snapshot.deployments for s in d.secrets.values()]
    )
    for secret in secrets:
        if len(secret.reveal()) >= len(SECRET):
            assert secret.reveal() not in repr(validation)


def _check_snapshot(validation: Validation) -> None:
    snapshot = validation.snapshot
    if snapshot is None:
        return
    for model in snapshot.models.values():
        ids = [d.id for d in model.deployments]
        assert ids
        assert len(set(ids)) == len(ids)
        orders = [d.order for d in model.deployments]
        assert orders == sorted(orders)
        assert model.primary.role == "primary"
    assert math.isfinite(snapshot.timeout_s)
    assert math.isfinite(snapshot.cooldown_time_s)
    for deployment in snapshot.deployments:
        assert deployment.temperature is None or 0 <= deployment.temperature <= 2
        assert deployment.max_tokens is None or deployment.max_tokens >= 1
        assert 0 < deployment.weight <= 1000
        assert math.isfinite(deployment.timeout_s)
        assert json.dumps(dict(deployment.params), ensure_ascii=False).encode(), "a request and a report take it"
        spec = PROVIDERS[deployment.provider]
        params = spec.litellm_params(deployment)
        assert all(isinstance(value, str) and value for value in params.values())
        assert json.dumps([params, deployment.id, deployment.endpoint], ensure_ascii=False).encode()


def _raw(rows: Mapping[str, Any], secrets: Mapping[str, SealedSecret]) -> Rows:
    return Rows("e1", 7, "c1", datetime(2026, 11, 23, tzinfo=UTC), 1.0, rows, secrets)


class TestAnyJson:
    @example({"llm_provider": "openai", "llm_model": "m"}, {}, {"OPENAI_API_KEY": "sk-\udcff"})
    @example({"llm_provider": "vertex-ai", "llm_model": "m"}, {}, {"VERTEX_AI_CREDENTIALS": "[" * 100_000})
    @example({}, {}, {"LLM_FALLBACK_CONFIG": "[" * 100_000})
    @example({}, {}, {"LLM_FALLBACK_CONFIG": '{"\\u0000": 1, "provider": "openai", "model": "m"}'})
    @example({}, {}, {"LLM_FALLBACK_CONFIG": '{"provider": "\\ud800", "model": "m"}'})
    @example({}, {}, {"LLM_FALLBACK_CONFIG": '{"provider": "openai", "model": "\\ud800"}'})
    @settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
    @given(rows(), sealed_secrets(), environments)
    def test_any_rows_give_a_snapshot_or_problems(
        self, rows: dict[str, Any], secrets: dict[str, SealedSecret], environ: dict[str, str]
    ) -> None:
        """Any JSON in any row, any bytes in the environment, any envelope: an outcome, and one that can be reported."""
        check(_raw(rows, secrets), environ)

    @settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
    @given(rows(), sealed_secrets())
    def test_no_keyring_is_a_problem_not_an_exception(
        self, rows: dict[str, Any], secrets: dict[str, SealedSecret]
    ) -> None:
        """Without a keyring, stored secrets are Problems."""
        check(_raw(rows, secrets), {}, keyring=None)

    @settings(max_examples=150)
    @given(st.sampled_from(list(PROVIDERS)), fallbacks)
    @example("anthropic", [{"provider": "openai", "model": "gpt-4o"}])
    def test_any_fallback_beside_a_good_primary(self, provider: str, fallback: object) -> None:
        """A fallback is right or named; it never turns a good primary into an exception."""
        everything = {name.upper(): SECRET + name for spec in PROVIDERS.values() for name in spec.secret_names}
        everything |= {"VERTEX_AI_CREDENTIALS": '{"project_id": "p"}', "SNOWFLAKE_ACCOUNT": "a"}
        everything |= {"AZURE_OPENAI_ENDPOINT": "https://a.example", "OPENAI_COMPATIBLE_API_BASE": "http://a.example"}
        rows = {"llm_provider": provider, "llm_model": model_of(provider), "llm_fallback_config": fallback}
        validation = check(_raw(rows, {}), everything)
        for problem in validation.problems:
            assert "llm_fallback_config" in problem.where
