"""Whoever may write rows can read neither a key, nor a file, nor the environment by them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pytest

from liverouter.config.draft import origins_in_force, sealed_unless_same
from liverouter.config.environment import Environment
from liverouter.config.settings import SETTINGS
from liverouter.config.validate import Validation, validate
from liverouter.providers import NO_HOSTS, PROVIDERS
from liverouter.revision import Rows
from liverouter.secrecy.sealing import Keyring, Secret, generate_key

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KEYRING: Final = Keyring.from_text(generate_key())
EVIL: Final = "https://evil.example"
SERVICE_ACCOUNT: Final = {
    "type": "service_account",
    "project_id": "p",
    "token_uri": "https://oauth2.googleapis.com/token",
    "private_key": "pem",
}
# provider -> rows that name it, and its secrets; no base URL
CONFIGS: Final[dict[str, tuple[dict[str, Any], dict[str, str]]]] = {
    "anthropic": ({"llm_model": "claude-sonnet-4-6"}, {"anthropic_api_key": "key"}),
    "openai": ({"llm_model": "gpt-4o"}, {"openai_api_key": "key"}),
    "openai-compatible": (
        {"llm_model": "qwen", "openai_compatible_api_base": "http://127.0.0.1:8000/v1"},
        {"openai_compatible_api_key": "key"},
    ),
    "azure-openai": (
        {"llm_model": "gpt-4o", "azure_openai_endpoint": "https://team.openai.azure.com"},
        {"azure_openai_api_key": "key"},
    ),
    "snowflake-cortex": ({"llm_model": "m", "snowflake_account": "org-account"}, {"snowflake_token": "key"}),
    "vertex-ai": ({"llm_model": "gemini-2.5-pro"}, {"vertex_ai_credentials": json.dumps(SERVICE_ACCOUNT)}),
}
MODELS_THAT_END: Final = ("m#", "m?x=", "../../files", "claude-x/../../zz", "a//b", "m%2e", "a\\b", "a b")
REFERENCES: Final = (
    "os.environ/HOME",
    " OS.environ/HOME",
    "x os.environ/HOME",
    "oidc/file//etc/passwd",
    "oidc/env/HOME",
)


def config(provider: str, **more: Any) -> dict[str, Any]:
    """Return valid rows of *provider*, and *more*."""
    return {"llm_provider": provider, **CONFIGS[provider][0], **more}


def judged(
    rows: Mapping[str, Any],
    secrets: Mapping[str, str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    stored_with: Mapping[str, Any] | None = None,  # rows in force when the secrets were stored; default: none
) -> Validation:
    """Validate *rows* with *secrets* stored."""
    sealed = {
        name: sealed_unless_same(None, name, Secret(value), KEYRING, origins=origins_in_force(stored_with or {}, name))
        for name, value in (secrets or {}).items()
    }
    raw = Rows("e1", 7, "c1", datetime(2026, 11, 23, tzinfo=UTC), 1.0, dict(rows), sealed)
    return validate(raw, environment=Environment(environ or {}), keyring=KEYRING)


def codes(validation: Validation) -> list[tuple[str, str]]:
    """Return (code, where) of every error."""
    assert all(problem.hint for problem in validation.problems)
    return [(p.code, p.where) for p in validation.problems if p.severity == "error"]


class TestValuesStayValues:
    @pytest.mark.parametrize("text", REFERENCES)
    @pytest.mark.parametrize("name", [name for name, setting in SETTINGS.items() if setting.kind in ("text", "url")])
    def test_no_row_is_looked_up(self, name: str, text: str) -> None:
        """In any row, used by this provider or not, an order to look elsewhere is LR112, and never repeated."""
        validation = judged(config("openai", **{name: text}), CONFIGS["openai"][1])
        assert ("LR112", f"settings.{name}") in codes(validation)
        assert "HOME" not in str(validation)
        assert "passwd" not in str(validation)

    @pytest.mark.parametrize("text", REFERENCES)
    @pytest.mark.parametrize(
        ("entry", "place"),
        [
            ({"model": "TEXT"}, ".model"),
            ({"api_version": "TEXT"}, ".api_version"),
            ({"nested": {"deep": ["x", "TEXT"]}}, ".nested.deep[1]"),
            ({"TEXT": 1}, ".…"),
        ],
    )
    def test_no_member_of_an_entry_is_looked_up(self, entry: dict[str, Any], place: str, text: str) -> None:
        """However deep it stands, known member or not."""
        written = json.loads(json.dumps(entry).replace("TEXT", text))
        fallback = {"provider": "azure-openai", "model": "gpt-4o", **written}
        found = codes(judged(config("openai", llm_fallback_config=[fallback]), CONFIGS["openai"][1]))
        assert ("LR112", f"settings.llm_fallback_config[0]{place}") in found

    @pytest.mark.parametrize("text", REFERENCES)
    @pytest.mark.parametrize("name", [n for spec in PROVIDERS.values() for n in spec.secret_names])
    def test_no_secret_is_looked_up(self, name: str, text: str) -> None:
        """A stored secret, and one of the environment, is a value."""
        provider = next(spec.name for spec in PROVIDERS.values() if name in spec.secret_names)
        assert ("LR112", f"secrets.{name}") in codes(judged(config(provider), {name: text}))
        variable = name.upper()
        assert ("LR112", f"environment {variable}") in codes(judged(config(provider), environ={variable: text}))

    def test_environment_s_settings_are_values_as_well(self) -> None:
        """What litellm would resolve is refused wherever it comes from."""
        environ = {"AZURE_OPENAI_API_VERSION": "os.environ/HOME"}
        found = codes(judged(config("azure-openai"), CONFIGS["azure-openai"][1], environ=environ))
        assert found == [("LR112", "environment AZURE_OPENAI_API_VERSION")]


class TestEnvironmentIsAList:
    @pytest.mark.parametrize(
        "name",
        [
            *("stripe_secret_key", "aws_web_identity_token", "home", "path", "database_url", "liverouter_database_url"),
            *("keys", "KEYS", "keys_file", "spare_file", "liverouter_admin_token", "openai_api_base"),
        ],
    )
    def test_a_reference_reads_no_other_variable(self, name: str, tmp_path: Path) -> None:
        """Neither the application's own variables, nor files they name, nor the keyring or the admin token."""
        file = tmp_path / "file"
        file.write_text("sk-of-the-file")
        variable = name.upper()
        environ = {
            variable: "http://127.0.0.1",
            f"{variable}_FILE": str(file),
            "LIVEROUTER_SECRET_KEYS": "sk-keyring",
            "LIVEROUTER_SECRET_KEYS_FILE": str(file),
            "LIVEROUTER_SECRET_SPARE_FILE": str(file),
        }
        entry = {"provider": "openai", "model": "m", "api_key": {"secret": name}}
        rows = config("anthropic", llm_fallback_config=entry)
        validation = judged(rows, CONFIGS["anthropic"][1], environ=environ)
        assert codes(validation) == [("LR102", "settings.llm_fallback_config.api_key")]
        assert "LIVEROUTER_SECRET_KEYS" not in str(validation)

    @pytest.mark.parametrize("name", ["spare", "spare-key", "team.key"])
    def test_a_reference_has_a_variable_of_its_own(self, name: str, tmp_path: Path) -> None:
        """LIVEROUTER_SECRET_<NAME>, or the file that …_FILE names."""
        entry = {"provider": "openai", "model": "m", "api_key": {"secret": name}}
        rows = config("anthropic", llm_fallback_config=entry)
        variable = "LIVEROUTER_SECRET_" + name.upper().replace("-", "_").replace(".", "_")
        file = tmp_path / "file"
        file.write_text("sk-spare")
        for environ in ({variable: "sk-spare"}, {f"{variable}_FILE": str(file)}):
            snapshot = judged(rows, CONFIGS["anthropic"][1], environ=environ).snapshot
            assert snapshot is not None
            assert snapshot.fallbacks[0].secrets["openai_api_key"].reveal() == "sk-spare"

    def test_a_provider_s_own_secret_can_be_named(self) -> None:
        """{"secret": "openai_api_key"} is OpenAI's key; the variable that only references have wins."""
        entry = {"provider": "openai", "model": "m", "api_key": {"secret": "openai_api_key"}}
        rows = config("anthropic", llm_fallback_config=entry)
        environ = {"OPENAI_API_KEY": "sk-one"}
        for more, used in (({}, "sk-one"), ({"LIVEROUTER_SECRET_OPENAI_API_KEY": "sk-two"}, "sk-two")):
            snapshot = judged(rows, CONFIGS["anthropic"][1], environ=environ | more).snapshot
            assert snapshot is not None
            assert snapshot.fallbacks[0].secrets["openai_api_key"].reveal() == used


class TestKeysGoWhereTheyWereMeantToGo:
    @pytest.mark.parametrize("provider", CONFIGS)
    def test_stored_key_goes_to_its_provider_and_to_no_base_of_a_later_row(self, provider: str) -> None:
        """A base that a row gives after the key was stored is LR111, which names both addresses and the way out."""
        rows, secrets = CONFIGS[provider]
        base = PROVIDERS[provider].base.name
        assert judged(config(provider), secrets).snapshot is not None
        validation = judged(config(provider, **{base: f"{EVIL}/v1"}), secrets, stored_with=rows)
        (problem,) = validation.problems
        assert (problem.code, problem.where) == ("LR111", f"settings.{base}")
        assert EVIL in problem.message
        assert ("own hosts" in problem.message) is (PROVIDERS[provider].own_hosts is not NO_HOSTS)
        assert f"liverouter set --secret {next(iter(secrets))} --for {EVIL}" in problem.hint

    @pytest.mark.parametrize("provider", CONFIGS)
    def test_key_stored_for_a_base_goes_there_and_nowhere_else(self, provider: str) -> None:
        """The base in force when it was stored; another port or scheme of the same host is another place."""
        base = PROVIDERS[provider].base.name
        rows = config(provider, **{base: "https://gateway.internal:8443/x"})
        assert judged(rows, CONFIGS[provider][1], stored_with=rows).snapshot is not None
        for other in (
            "https://gateway.internal",
            "http://gateway.internal:8443",
            "https://gateway.internal.evil.example",
        ):
            found = judged(rows | {base: other}, CONFIGS[provider][1], stored_with=rows)
            assert codes(found) == [("LR111", f"settings.{base}")]
            assert "https://gateway.internal:8443" in found.problems[0].message

    @pytest.mark.parametrize("provider", CONFIGS)
    def test_entry_cannot_take_a_key_elsewhere(self, provider: str) -> None:
        """A fallback that inherits the key, names it, or names it for another provider sends it nowhere new."""
        name = next(iter(CONFIGS[provider][1]))
        inherits = {"provider": provider, "model": "other", "api_base": EVIL}
        names = inherits | {"api_key": {"secret": name}}
        other = "openai" if provider == "anthropic" else "anthropic"
        strange = {"provider": other, "model": "m", "api_key": {"secret": name}}
        secrets = CONFIGS[provider][1] | CONFIGS[other][1]
        for entry, place in ((inherits, "api_base"), (names, "api_base"), (strange, "api_key")):
            if provider == "vertex-ai" and entry is strange:
                continue  # a service account is no key of anybody else's, whatever it is called
            found = codes(judged(config(provider, llm_fallback_config=entry), secrets, stored_with=config(provider)))
            assert found == [("LR111", f"settings.llm_fallback_config.{place}")]

    def test_secret_of_any_name_is_bound_to_the_entry_that_uses_it(self) -> None:
        """Stored beside its entry, it goes to that entry's base, and to no base of a later one."""
        entry = {
            "provider": "openai",
            "model": "m",
            "api_base": "https://gw.internal/v1",
            "api_key": {"secret": "team"},
        }
        rows = config("anthropic", llm_fallback_config=entry)
        secrets = CONFIGS["anthropic"][1] | {"team": "sk-team"}
        assert judged(rows, secrets, stored_with=rows).snapshot is not None
        later = config("anthropic", llm_fallback_config=entry | {"api_base": EVIL})
        assert codes(judged(later, secrets, stored_with=rows)) == [("LR111", "settings.llm_fallback_config.api_base")]
        assert codes(judged(rows, secrets)) == [("LR111", "settings.llm_fallback_config.api_base")]

    @pytest.mark.parametrize("provider", CONFIGS)
    def test_key_of_the_environment_goes_where_the_environment_says(self, provider: str) -> None:
        """Its provider, its own base, or what LIVEROUTER_API_BASES lists; a row decides none of it."""
        spec = PROVIDERS[provider]
        (name, value), *_ = CONFIGS[provider][1].items()
        key = {name.upper(): value}
        rows = config(provider, **{spec.base.name: f"{EVIL}/v1"})
        validation = judged(rows, environ=key)
        assert codes(validation) == [("LR111", f"settings.{spec.base.name}")]
        assert f"LIVEROUTER_API_BASES={EVIL}" in validation.problems[0].hint
        for allowed in ({spec.base.name.upper(): EVIL}, {"LIVEROUTER_API_BASES": f"https://other.example, {EVIL}/x"}):
            assert judged(rows, environ=key | allowed).snapshot is not None

    @pytest.mark.parametrize("provider", CONFIGS)
    def test_base_of_the_environment_is_trusted_with_stored_keys(self, provider: str) -> None:
        """Who starts the process chooses where it calls; no row said so."""
        spec = PROVIDERS[provider]
        rows = {name: value for name, value in config(provider).items() if name != spec.base.name}
        environ = {spec.base.name.upper(): "https://gateway.internal"}
        assert judged(rows, CONFIGS[provider][1], environ=environ).snapshot is not None

    def test_base_of_the_environment_is_trusted_with_its_provider_s_key_alone(self) -> None:
        """A row that has another stored key used there is one that points elsewhere."""
        entry = {"provider": "anthropic", "model": "m"}
        environ = {"ANTHROPIC_API_BASE": "https://gateway.internal"}
        secrets = {"openai_api_key": "key", "anthropic_api_key": "key", "team": "key"}
        assert judged(config("openai", llm_fallback_config=entry), secrets, environ=environ).snapshot is not None
        for name in ("openai_api_key", "team"):
            rows = config("openai", llm_fallback_config=entry | {"api_key": {"secret": name}})
            found = codes(judged(rows, secrets, environ=environ))
            assert found == [("LR111", "settings.llm_fallback_config.api_key")]

    def test_list_of_the_environment_does_not_loosen_stored_keys(self) -> None:
        """A stored key goes where it was stored for; the list is for keys of the environment."""
        rows = config("openai", openai_api_base="https://gateway.internal")
        environ = {"LIVEROUTER_API_BASES": "https://gateway.internal"}
        assert codes(judged(rows, CONFIGS["openai"][1], environ=environ)) == [("LR111", "settings.openai_api_base")]

    def test_ambient_credentials_go_to_google_alone(self) -> None:
        """The machine's own identity is a credential as well."""
        rows = config("vertex-ai", vertex_ai_project_id="p")
        assert judged(rows).snapshot is not None
        assert codes(judged(rows | {"vertex_ai_api_base": EVIL})) == [("LR111", "settings.vertex_ai_api_base")]

    @pytest.mark.parametrize("provider", CONFIGS)
    def test_this_machine_may_have_every_key(self, provider: str) -> None:
        """A stand-in or a local gateway needs no permission."""
        rows = config(provider, **{PROVIDERS[provider].base.name: "http://127.0.0.1:8000/v1"})
        assert judged(rows, CONFIGS[provider][1]).snapshot is not None

    @pytest.mark.parametrize(
        ("provider", "row", "text"),
        [
            ("vertex-ai", "vertex_ai_location", "evil.example/"),
            ("vertex-ai", "vertex_ai_location", "evil.example#"),
            ("vertex-ai", "vertex_ai_location", "x@evil.example"),
            ("vertex-ai", "vertex_ai_project_id", "../../../x"),
            ("snowflake-cortex", "snowflake_account", "evil.example#"),
            ("snowflake-cortex", "snowflake_account", "evil.example?"),
            ("snowflake-cortex", "snowflake_account", "https://evil.example\\"),
            ("snowflake-cortex", "snowflake_account", "u:p@evil.example"),
            ("azure-openai", "azure_openai_deployment", "../x?"),
            ("azure-openai", "azure_openai_api_version", "1&x=#"),
            *((provider, "llm_model", text) for provider in ("azure-openai", "vertex-ai") for text in MODELS_THAT_END),
        ],
    )
    def test_no_text_becomes_another_address(self, provider: str, row: str, text: str) -> None:
        """What is put into a URL holds none of the characters that end its place there; in an entry neither."""
        assert codes(judged(config(provider, **{row: text}), CONFIGS[provider][1])) == [("LR104", f"settings.{row}")]
        member = next((f.alias for f in PROVIDERS[provider].fields if f.name == row), "model")
        entry = {"provider": provider, "model": "other", member: text}
        found = codes(judged(config(provider, llm_fallback_config=entry), CONFIGS[provider][1]))
        assert ("LR104", f"settings.llm_fallback_config.{member}") in found

    @pytest.mark.parametrize(
        "model", ["gemini-2.5-pro", "claude-sonnet-4-5@20250929", "meta/llama-4-maverick-17b", "1234567890", "a.b_c:d"]
    )
    def test_models_as_vertex_names_them_are_taken(self, model: str) -> None:
        """With a publisher, a version, or as the number of an endpoint."""
        assert judged(config("vertex-ai", llm_model=model), CONFIGS["vertex-ai"][1]).snapshot is not None


class TestGoogleCredentials:
    @pytest.mark.parametrize(
        "account",
        [
            {"type": "external_account", "credential_source": {"file": "/etc/shadow"}, "token_url": EVIL},
            {"type": "external_account", "credential_source": {"executable": {"command": "id"}}},
            {"type": "authorized_user", "refresh_token": "r", "client_id": "c", "client_secret": "s"},
            {"type": "impersonated_service_account", "source_credentials": {"type": "authorized_user"}},
            {"type": "gdch_service_account"},
            {},
            SERVICE_ACCOUNT | {"credential_source": {"file": "/etc/shadow"}},
            SERVICE_ACCOUNT | {"service_account_impersonation_url": EVIL},
            SERVICE_ACCOUNT | {"token_uri": f"{EVIL}/token"},
            SERVICE_ACCOUNT | {"token_uri": "https://oauth2.googleapis.com.evil.example/token"},
            SERVICE_ACCOUNT | {"token_uri": "http://oauth2.googleapis.com/token"},
            SERVICE_ACCOUNT | {"token_uri": "http://127.0.0.1:1/token"},
            SERVICE_ACCOUNT | {"token_uri": None},
            SERVICE_ACCOUNT | {"universe_domain": "evil.example"},
            SERVICE_ACCOUNT | {"project_id": "x/../../v1/evil?a="},
            SERVICE_ACCOUNT | {"project_id": "p#evil.example"},
            SERVICE_ACCOUNT | {"project_id": 5},
            SERVICE_ACCOUNT | {"project_id": {}},
        ],
    )
    def test_stored_credential_is_a_service_account_of_google_s(self, account: dict[str, Any]) -> None:
        """Anything else names files, programs and addresses of whoever stored it: LR113, and none is repeated."""
        rows = config("vertex-ai", vertex_ai_project_id="p")
        validation = judged(rows, {"vertex_ai_credentials": json.dumps(account)})
        assert codes(validation) == [("LR113", "settings.vertex_ai_credentials")]
        assert not any(text in str(validation) for text in ("shadow", "evil.example", "127.0.0.1"))

    @pytest.mark.parametrize(
        "address", ["https://oauth2.googleapis.com/token", "https://accounts.google.com/o/oauth2/token"]
    )
    def test_key_file_of_google_s_is_taken(self, address: str) -> None:
        """As Google makes them, now and in former years."""
        account = json.dumps(SERVICE_ACCOUNT | {"token_uri": address, "universe_domain": "googleapis.com"})
        assert judged(config("vertex-ai"), {"vertex_ai_credentials": account}).snapshot is not None

    def test_stand_in_on_this_machine_has_its_own_token_address(self) -> None:
        """Only where calls stay on this machine, too."""
        account = {"vertex_ai_credentials": json.dumps(SERVICE_ACCOUNT | {"token_uri": "http://127.0.0.1:1/token"})}
        assert judged(config("vertex-ai", vertex_ai_api_base="http://127.0.0.1:1"), account).snapshot is not None


class TestKeysThatCannotBeSent:
    @pytest.mark.parametrize(
        "key",
        [
            *("sk-a\nsk-b", "sk-\u200b1", "sk-a\u2026z", "sk-\u00fc", "sk-\x00", "sk-a\r\n\tb"),
            *('"sk-1"', "'sk-1'", "Bearer sk-1", "bearer  sk-1"),
        ],
    )
    @pytest.mark.parametrize("provider", [name for name in CONFIGS if name != "vertex-ai"])
    def test_key_that_no_header_holds_is_told_before_it_is_needed(self, provider: str, key: str) -> None:
        """Stored or of the environment, of the primary, an entry or a named model: LR123, and nothing is repeated.

        A library would say of it that the request cannot be written, as if that were the caller's fault.
        """
        (name,) = CONFIGS[provider][1]
        stored = judged(config(provider), {name: key})
        given = judged(config(provider), environ={name.upper(): key})
        assert codes(stored) == codes(given) == [("LR123", f"settings.{name}")]
        entry = {"provider": provider, **CONFIGS[provider][0], "model": "other", "api_key": {"secret": "own"}}
        del entry["llm_model"]
        rows = config(provider, llm_fallback_config=entry, **{"llm:fast": entry})
        beside = codes(judged(rows, CONFIGS[provider][1] | {"own": key}))
        assert beside == [("LR123", f"settings.{row}") for row in ("llm_fallback_config", "llm:fast")]
        assert not any(key in str(v) or key in repr(v.problems) for v in (stored, given))

    def test_key_with_blanks_around_it_is_read_without(self) -> None:
        """As a file ends in a line's end."""
        assert judged(config("openai"), environ={"OPENAI_API_KEY": " sk-1\n"}).snapshot is not None
