"""Rows and environment become a Snapshot, or every Problem at once."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from liverouter.config.environment import Environment
from liverouter.config.validate import Validation, validate
from liverouter.revision import Rows, SealedSecret
from liverouter.secrecy.sealing import Keyring, Secret, fingerprint, generate_key, seal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from liverouter.revision import Snapshot

KEYRING = Keyring.from_text(generate_key())
KEYS = {
    "ANTHROPIC_API_KEY": "sk-ant-one",
    "OPENAI_API_KEY": "sk-two",
    "AZURE_OPENAI_API_KEY": "azure-three",
    "SNOWFLAKE_TOKEN": "pat-four",
}
AZURE = "https://x.openai.azure.com"
GOOGLE = {"type": "service_account", "token_uri": "https://oauth2.googleapis.com/token"}
PRIMARY = {"llm_provider": "anthropic", "llm_model": "claude-sonnet-4-6"}


def check(
    rows: Mapping[str, object],
    environ: Mapping[str, str] = KEYS,
    secrets: Mapping[str, str] | None = None,
    keyring: Keyring | None = KEYRING,
) -> Validation:
    """Validate *rows* with *secrets* sealed as the database holds them."""
    sealed = {n: SealedSecret(seal(n, Secret(v), KEYRING), fingerprint(Secret(v))) for n, v in (secrets or {}).items()}
    raw = Rows("e1", 7, "c1", datetime(2026, 11, 23, tzinfo=UTC), 1.0, dict(rows), sealed)
    return validate(raw, environment=Environment(environ), keyring=keyring)


def accepted(rows: Mapping[str, object], environ: Mapping[str, str] = KEYS, **more: Any) -> Snapshot:
    """Return the snapshot of *rows*, which must be valid."""
    validation = check(rows, environ, **more)
    assert validation.snapshot is not None, validation.problems
    return validation.snapshot


def rejected(rows: Mapping[str, object], environ: Mapping[str, str] = KEYS, **more: Any) -> list[tuple[str, str]]:
    """Return (code, where) of every error of *rows*, which must be invalid."""
    validation = check(rows, environ, **more)
    assert validation.snapshot is None
    assert all(p.hint for p in validation.problems), "every Problem says how to mend it"
    return [(p.code, p.where) for p in validation.problems if p.severity == "error"]


class TestPrimary:
    def test_two_rows_and_a_key_suffice(self) -> None:
        """Provider, model and a credential make a whole snapshot with DESIGN's defaults."""
        snapshot = accepted(PRIMARY)
        assert [d.label for d in snapshot.deployments] == ["anthropic/claude-sonnet-4-6"]
        assert snapshot.primary.role == "primary"
        assert snapshot.primary.order == 1
        assert snapshot.primary.params == {}
        assert snapshot.primary.credential_source == "environment ANTHROPIC_API_KEY"
        assert (snapshot.num_retries, snapshot.allowed_fails, snapshot.cooldown_time_s) == (2, 3, 60.0)
        assert (snapshot.timeout_s, snapshot.litellm_enable, snapshot.model_name) == (120.0, True, "ekaiX-model")

    def test_no_rows_at_all_name_what_to_set(self) -> None:
        """An empty database asks for provider and model in one report."""
        assert rejected({}) == [("LR100", "settings.llm_provider"), ("LR100", "settings.llm_model")]

    @pytest.mark.parametrize(
        ("written", "meant"), [("opnai", "openai"), ("azure", "azure-openai"), ("Vertex_AI", "vertex-ai")]
    )
    def test_unknown_provider_suggests_the_nearest(self, written: str, meant: str) -> None:
        """A mistyped provider is LR101 with "Did you mean"."""
        validation = check(PRIMARY | {"llm_provider": written})
        assert [(p.code, p.hint) for p in validation.problems] == [("LR101", f"Did you mean '{meant}'?")]

    def test_missing_credential_names_secret_and_variable(self) -> None:
        """Without a key anywhere the Problem says both places where it may go."""
        (problem,) = check(PRIMARY, {}).problems
        assert problem.code == "LR102"
        assert problem.where == "settings.anthropic_api_key"
        assert "set --secret anthropic_api_key" in problem.hint
        assert "ANTHROPIC_API_KEY" in problem.hint

    @pytest.mark.parametrize("value", [4, True, ["claude"], {"model": "claude"}])
    def test_wrong_json_type_is_a_problem(self, value: object) -> None:
        """A model that is no text is LR103, and the value is not repeated."""
        assert rejected(PRIMARY | {"llm_model": value}) == [("LR103", "settings.llm_model")]

    @pytest.mark.parametrize(
        ("name", "value", "belongs", "example"),
        [
            ("llm_fallback_config", 3, "a number stands where an object or a list of objects belongs", "provider"),
            ("llm_profile", [1], "a list stands where an object belongs", "max_input_tokens"),
            ("llm_profile", "wide", "text stands where an object belongs", "max_input_tokens"),
        ],
    )
    def test_problem_of_json_says_what_that_setting_takes(
        self, name: str, value: object, belongs: str, example: str
    ) -> None:
        """A fallback may be one of a list, a profile may not, and the hint has that setting's own members."""
        (problem,) = check(PRIMARY | {name: value}).problems
        assert problem.message == belongs
        assert example in problem.hint

    def test_json_of_the_environment_that_cannot_be_read_has_that_setting_s_hint(self) -> None:
        """A profile in a variable is told as a profile."""
        (problem,) = check(PRIMARY, KEYS | {"LLM_PROFILE": "{"}).problems
        assert (problem.code, problem.where) == ("LR103", "environment LLM_PROFILE")
        assert "max_input_tokens" in problem.hint

    def test_null_row_counts_as_not_set(self) -> None:
        """A null row beats the environment: it says "no value", not "ask elsewhere"."""
        environ = KEYS | {"LLM_MODEL": "claude-haiku-4-5", "LLM_TEMPERATURE": "0.3"}
        assert rejected(PRIMARY | {"llm_model": None}, environ) == [("LR100", "settings.llm_model")]
        assert accepted(PRIMARY | {"llm_temperature": None}, environ).primary.temperature is None

    def test_every_problem_is_reported_at_once(self) -> None:
        """Five mistakes are five Problems, not one per attempt."""
        rows = {
            "llm_provider": "anthropic",
            "llm_model": " ",
            "llm_temperature": "hot",
            "litellm_timeout": -1,
            "llm_fallback_config": [{"provider": "opnai"}],
        }
        codes = rejected(rows)
        assert ("LR100", "settings.llm_model") in codes
        assert ("LR103", "settings.llm_temperature") in codes
        assert ("LR104", "settings.litellm_timeout") in codes
        assert ("LR101", "settings.llm_fallback_config[0].provider") in codes
        assert ("LR100", "settings.llm_fallback_config[0].model") in codes


class TestSources:
    def test_row_beats_environment_beats_default(self) -> None:
        """The order of DESIGN: row, environment variable in capitals, default."""
        environ = KEYS | {"LITELLM_TIMEOUT": "30", "LITELLM_COOLDOWN_TIME": "5"}
        snapshot = accepted(PRIMARY | {"litellm_timeout": 20}, environ)
        assert (snapshot.timeout_s, snapshot.cooldown_time_s, snapshot.allowed_fails) == (20.0, 5.0, 3)

    def test_whole_config_may_come_from_the_environment(self) -> None:
        """Text from the environment is read by the setting's type."""
        environ = KEYS | {
            "LLM_PROVIDER": "openai",
            "LLM_MODEL": "gpt-4o",
            "LLM_FALLBACK_CONFIG": '{"provider": "anthropic", "model": "claude-haiku-4-5"}',
            "LITELLM_ENABLE": "off",
            "LLM_MAX_TOKENS": "99",
        }
        snapshot = accepted({}, environ)
        assert [d.label for d in snapshot.deployments] == ["openai/gpt-4o", "anthropic/claude-haiku-4-5"]
        assert snapshot.litellm_enable is False
        assert snapshot.primary.params == {"max_tokens": 99}

    @pytest.mark.parametrize(
        ("variable", "text"),
        [("LITELLM_ENABLE", "perhaps"), ("LITELLM_NUM_RETRIES", "2.5"), ("LLM_FALLBACK_CONFIG", "{oops")],
    )
    def test_text_of_the_wrong_type_names_the_variable(self, variable: str, text: str) -> None:
        """A variable that does not parse is LR103 at that variable."""
        assert rejected(PRIMARY, KEYS | {variable: text}) == [("LR103", f"environment {variable}")]

    def test_file_named_by_the_environment_serves_the_secret(self, tmp_path: Path) -> None:
        """``<NAME>_FILE`` is read, as container platforms mount secrets."""
        path = tmp_path / "key"
        path.write_text("\ufeffsk-ant-file\n")  # with the mark that Windows puts before a text
        deployment = accepted(PRIMARY, {"ANTHROPIC_API_KEY_FILE": str(path)}).primary
        assert deployment.secrets["anthropic_api_key"].reveal() == "sk-ant-file"
        assert deployment.credential_source == f"file {path}"

    def test_unreadable_file_is_a_problem_that_names_it(self, tmp_path: Path) -> None:
        """A secret file that is not there is said, not taken for "no key"."""
        codes = rejected(PRIMARY, {"ANTHROPIC_API_KEY_FILE": str(tmp_path / "gone")})
        assert ("LR102", f"file {tmp_path / 'gone'}") in codes

    @pytest.mark.parametrize("text", ["", " \n"])
    def test_empty_file_is_a_problem_that_names_it(self, tmp_path: Path, text: str) -> None:
        """A file without a value, of a secret or of a setting, is said, and never taken for a value."""
        path = tmp_path / "value"
        path.write_text(text)
        assert rejected(PRIMARY, {"ANTHROPIC_API_KEY_FILE": str(path)}) == [("LR102", f"file {path}")]
        assert rejected(PRIMARY, KEYS | {"LITELLM_TIMEOUT_FILE": str(path)}) == [("LR100", f"file {path}")]

    def test_environment_remembers_what_it_was_asked(self) -> None:
        """Only a change of something that validation used counts as a changed environment."""
        environ = dict(KEYS)
        former = Environment(environ)
        former.get("anthropic_api_key")
        environ["OPENAI_API_KEY"] = "sk-other"
        assert not Environment(environ).differs(former)
        environ["ANTHROPIC_API_KEY"] = "sk-ant-other"
        assert Environment(environ).differs(former)


class TestSecrets:
    def test_stored_secret_beats_the_environment(self) -> None:
        """A sealed secret of the name serves; its source is said."""
        deployment = accepted(PRIMARY, secrets={"anthropic_api_key": "sk-ant-sealed"}).primary
        assert deployment.secrets["anthropic_api_key"].reveal() == "sk-ant-sealed"
        assert deployment.credential_source == "secret anthropic_api_key"
        assert deployment.credential_fingerprint == fingerprint(Secret("sk-ant-sealed"))

    def test_undecryptable_secret_is_rejected_with_its_key_id(self) -> None:
        """A secret sealed with a key of somebody else is no reason to fall back to the environment."""
        other = Keyring.from_text(generate_key())
        validation = check(PRIMARY, secrets={"anthropic_api_key": "sk-ant-sealed"}, keyring=other)
        assert validation.snapshot is None
        assert {"LR502"} <= {p.code for p in validation.problems}
        assert KEYRING.newest in " ".join(str(p) for p in validation.problems)

    @pytest.mark.parametrize("stored", ["", " \t\n"])
    def test_stored_secret_without_content_is_refused(self, stored: str) -> None:
        """A secret that opens to nothing is no key, and no reason to fall back to the environment."""
        assert rejected(PRIMARY, secrets={"anthropic_api_key": stored}) == [("LR102", "secrets.anthropic_api_key")]

    def test_plain_secret_in_settings_is_refused(self) -> None:
        """Should a plain key get past the database, it is refused here, and not repeated."""
        validation = check(PRIMARY | {"anthropic_api_key": "sk-ant-plain"})
        assert ("LR110", "settings.anthropic_api_key") in [(p.code, p.where) for p in validation.problems]
        assert "sk-ant-plain" not in str(validation)

    def test_no_secret_shows_in_any_text(self) -> None:
        """Neither repr nor str of a snapshot holds a credential."""
        snapshot = accepted(PRIMARY, secrets={"anthropic_api_key": "sk-ant-sealed"})
        assert "sk-ant" not in f"{snapshot!r} {snapshot} {snapshot.primary!r} {snapshot.primary.secrets}"


class TestFallbacks:
    def test_object_and_list_of_one_are_alike(self) -> None:
        """One fallback may be written without the list."""
        entry = {"provider": "openai", "model": "gpt-4o"}
        one = accepted(PRIMARY | {"llm_fallback_config": entry})
        many = accepted(PRIMARY | {"llm_fallback_config": [entry]})
        assert one.deployments == many.deployments
        assert (one.fallbacks[0].role, one.fallbacks[0].order) == ("fallback", 2)

    def test_list_is_ordered_and_orders_may_be_given(self) -> None:
        """Entries get orders 2, 3, …; an explicit order and weight win."""
        entries = [
            {"provider": "openai", "model": "a", "order": 5},
            {"provider": "openai", "model": "b"},
            {"provider": "openai", "model": "c", "order": 1, "weight": 3},
        ]
        snapshot = accepted(PRIMARY | {"llm_fallback_config": entries})
        assert [(d.model, d.order, d.role) for d in snapshot.deployments] == [
            ("claude-sonnet-4-6", 1, "primary"),
            ("c", 1, "primary"),
            ("b", 3, "fallback"),
            ("a", 5, "fallback"),
        ]
        assert snapshot.deployments[1].weight == 3

    def test_entry_inherits_and_overrides_parameters(self) -> None:
        """Temperature and max_tokens are the rows' unless the entry has its own."""
        rows = PRIMARY | {
            "llm_temperature": 0.5,
            "llm_max_tokens": 100,
            "llm_fallback_config": {"provider": "openai", "model": "gpt-4o", "temperature": 0},
        }
        assert accepted(rows).fallbacks[0].params == {"temperature": 0.0, "max_tokens": 100}

    def test_entry_may_name_its_own_secret_and_base(self) -> None:
        """``api_key`` as a reference and ``api_base`` belong to this entry alone."""
        entry = {
            "provider": "openai",
            "model": "llama",
            "api_key": {"secret": "local_llm"},
            "api_base": "http://127.0.0.1:8000",
        }
        snapshot = accepted(PRIMARY | {"llm_fallback_config": entry}, secrets={"local_llm": "sk-local"})
        assert snapshot.fallbacks[0].secrets["openai_api_key"].reveal() == "sk-local"
        assert snapshot.fallbacks[0].settings == {"openai_api_base": "http://127.0.0.1:8000/v1"}

    def test_secret_of_an_entry_may_come_from_the_environment(self) -> None:
        """Where no secret of the name is stored, a variable serves that holds nothing else."""
        entry = {"provider": "openai", "model": "m", "api_key": {"secret": "spare_key"}}
        snapshot = accepted(
            PRIMARY | {"llm_fallback_config": entry}, KEYS | {"LIVEROUTER_SECRET_SPARE_KEY": "sk-spare"}
        )
        assert snapshot.fallbacks[0].credential_source == "environment LIVEROUTER_SECRET_SPARE_KEY"

    @pytest.mark.parametrize("reference", ["sk-plain", {"secret": ""}, {"name": "x"}, 7, ["x"]])
    def test_anything_but_a_reference_is_refused(self, reference: object) -> None:
        """A plain key inside the entry is LR110 and is not repeated."""
        entry = {"provider": "openai", "model": "m", "api_key": reference}
        validation = check(PRIMARY | {"llm_fallback_config": entry})
        assert "LR110" in {p.code for p in validation.problems}
        assert "sk-plain" not in str(validation)

    def test_missing_named_secret_is_told(self) -> None:
        """A reference to nothing is LR102 at the entry."""
        entry = {"provider": "openai", "model": "m", "api_key": {"secret": "nowhere"}}
        assert ("LR102", "settings.llm_fallback_config.api_key") in rejected(PRIMARY | {"llm_fallback_config": entry})

    @pytest.mark.parametrize("config", [3, "openai", True, [None], ["openai"], [[]]])
    def test_wrong_shapes_are_problems(self, config: object) -> None:
        """Whatever stands there, it is a Problem and never an exception."""
        assert {code for code, _ in rejected(PRIMARY | {"llm_fallback_config": config})} == {"LR103"}

    def test_unknown_member_suggests_the_nearest(self) -> None:
        """A mistyped member would be ignored in silence otherwise."""
        entry = {"provider": "openai", "model": "m", "temprature": 1}
        (problem,) = check(PRIMARY | {"llm_fallback_config": entry}).problems
        assert (problem.code, problem.hint) == ("LR106", "Did you mean 'temperature'?")

    def test_twin_of_the_primary_is_refused(self) -> None:
        """A fallback that is the primary again would fail with it."""
        entry = {"provider": "anthropic", "model": "claude-sonnet-4-6"}
        assert ("LR108", "settings.llm_fallback_config") in rejected(PRIMARY | {"llm_fallback_config": entry})

    def test_too_many_are_refused(self) -> None:
        """Twenty is more than anybody means."""
        entries = [{"provider": "openai", "model": f"m{n}"} for n in range(21)]
        assert rejected(PRIMARY | {"llm_fallback_config": entries}) == [("LR104", "settings.llm_fallback_config")]


class TestProviders:
    @pytest.mark.parametrize(
        ("provider", "row", "written", "used"),
        [
            ("anthropic", "anthropic_api_base", "https://proxy.example/v1/", "https://proxy.example"),
            ("anthropic", "anthropic_api_base", "https://proxy.example/v1/messages", "https://proxy.example"),
            ("openai", "openai_api_base", "https://proxy.example", "https://proxy.example/v1"),
            ("openai", "openai_api_base", "http://h:1/api/v1/chat/completions", "http://h:1/api/v1"),
            (
                "azure-openai",
                "azure_openai_endpoint",
                "https://x.openai.azure.com/openai/deployments/d/chat/completions?api-version=1",
                "https://x.openai.azure.com",
            ),
            ("vertex-ai", "vertex_ai_api_base", "https://v.example/v1/projects/p", "https://v.example"),
            ("snowflake-cortex", "snowflake_api_base", "https://a.example/", "https://a.example/api/v2"),
        ],
    )
    def test_base_url_is_normalized(self, provider: str, row: str, written: str, used: str) -> None:
        """What people paste from a portal becomes what the client library appends its path to."""
        rows = {
            "llm_provider": provider,
            "llm_model": "m",
            "vertex_ai_project_id": "p",
            "azure_openai_endpoint": "https://x",
            row: written,
        }
        assert accepted(rows, KEYS | {"LIVEROUTER_API_BASES": written}).primary.settings[row] == used

    @pytest.mark.parametrize("url", ["ftp://x", "x.example", "https://", "http://u@x", "http://x:port", "http://a b"])
    def test_unusable_url_is_a_problem(self, url: str) -> None:
        """A URL nobody could call is LR105 at its row."""
        assert rejected(PRIMARY | {"anthropic_api_base": url}) == [("LR105", "settings.anthropic_api_base")]

    def test_azure_needs_endpoint_and_a_credential(self) -> None:
        """Both are told at once."""
        codes = rejected({"llm_provider": "azure-openai", "llm_model": "d"}, {})
        assert codes == [("LR100", "settings.azure_openai_endpoint"), ("LR102", "settings.azure_openai_api_key")]

    def test_azure_deployment_is_the_model_unless_given(self) -> None:
        """With a deployment of another name the model tells limits and cost."""
        rows = {"llm_provider": "azure-openai", "llm_model": "gpt-4o", "azure_openai_endpoint": AZURE}
        assert accepted(rows).primary.settings["azure_openai_deployment"] == "gpt-4o"
        named = accepted(rows | {"azure_openai_deployment": "prod"}).primary.settings
        assert (named["azure_openai_deployment"], named["azure_openai_base_model"]) == ("prod", "gpt-4o")

    def test_azure_fallback_of_azure_has_a_deployment_of_its_own(self) -> None:
        """The primary's deployment row is not the fallback's."""
        rows = {
            "llm_provider": "azure-openai",
            "llm_model": "gpt-4o",
            "azure_openai_endpoint": AZURE,
            "azure_openai_deployment": "prod",
            "llm_fallback_config": {"provider": "azure-openai", "model": "spare"},
        }
        assert accepted(rows).fallbacks[0].settings["azure_openai_deployment"] == "spare"

    def test_azure_takes_a_token_instead_of_a_key(self) -> None:
        """An Entra ID token alone is enough."""
        rows = {"llm_provider": "azure-openai", "llm_model": "d", "azure_openai_endpoint": AZURE}
        deployment = accepted(rows, {"AZURE_OPENAI_AD_TOKEN": "token"}).primary
        assert set(deployment.secrets) == {"azure_openai_ad_token"}

    def test_vertex_needs_no_secret(self) -> None:
        """Ambient credentials of the cloud serve; the location has a default."""
        rows = {"llm_provider": "vertex-ai", "llm_model": "gemini-2.5-pro", "vertex_ai_project_id": "p"}
        deployment = accepted(rows, {}).primary
        assert (deployment.credential_source, deployment.credential_fingerprint) == ("ambient", "")
        assert deployment.settings["vertex_ai_location"] == "us-central1"

    def test_vertex_project_may_come_from_the_service_account(self) -> None:
        """The key file names its project."""
        rows = {"llm_provider": "vertex-ai", "llm_model": "gemini-2.5-pro"}
        account = {"vertex_ai_credentials": json.dumps(GOOGLE | {"project_id": "p"})}
        assert accepted(rows, {}, secrets=account).primary.credential_source == "secret vertex_ai_credentials"
        assert rejected(rows, {}) == [("LR100", "settings.vertex_ai_project_id")]

    def test_vertex_service_account_must_be_json(self) -> None:
        """A pasted key id instead of the file is told."""
        rows = {"llm_provider": "vertex-ai", "llm_model": "gemini-2.5-pro", "vertex_ai_project_id": "p"}
        codes = rejected(rows, {}, secrets={"vertex_ai_credentials": "abc"})
        assert codes == [("LR103", "settings.vertex_ai_credentials")]

    def test_snowflake_password_is_a_problem_with_the_way_out(self) -> None:
        """Cortex takes no password; the hint says what to store instead."""
        rows = {
            "llm_provider": "snowflake-cortex",
            "llm_model": "mistral-large2",
            "snowflake_account": "a-b",
            "snowflake_user": "me",
            "snowflake_password": None,
        }
        problems = [p for p in check(rows).problems if p.code == "LR107"]
        assert {p.where for p in problems} == {"settings.snowflake_user", "settings.snowflake_password"}
        assert all("snowflake_token" in p.hint for p in problems)

    def test_snowflake_account_makes_the_address(self) -> None:
        """Underscores of an account name are dashes in its host name."""
        rows = {"llm_provider": "snowflake-cortex", "llm_model": "m", "snowflake_account": "org-my_account"}
        assert accepted(rows).primary.endpoint == "https://org-my-account.snowflakecomputing.com/api/v2"


class TestNumbers:
    @pytest.mark.parametrize(
        ("row", "value"),
        [
            ("llm_temperature", 2.1),
            ("llm_temperature", float("nan")),
            ("llm_max_tokens", 0),
            ("litellm_timeout", 0),
            ("litellm_cooldown_time", 10**400),
            ("litellm_num_retries", -1),
        ],
    )
    def test_out_of_range_is_a_problem(self, row: str, value: float) -> None:
        """Bounds hold, for numbers of any size."""
        assert rejected(PRIMARY | {row: value}) == [("LR104", f"settings.{row}")]

    @pytest.mark.parametrize("value", ["2", True, None, 2.5, []])
    def test_whole_number_means_whole(self, value: object) -> None:
        """Text, truth values and fractions are no counts; null means the default."""
        validation = check(PRIMARY | {"litellm_num_retries": value})
        if value is None:
            assert validation.snapshot is not None
            assert validation.snapshot.num_retries == 2
        else:
            assert [(p.code, p.where) for p in validation.problems] == [("LR103", "settings.litellm_num_retries")]

    def test_whole_float_is_a_whole_number(self) -> None:
        """JSON writers that know floats only are not punished."""
        assert accepted(PRIMARY | {"llm_max_tokens": 10.0}).primary.max_tokens == 10


class TestWarnings:
    def test_mistyped_row_of_a_provider_is_a_warning(self) -> None:
        """A row that looks like a setting does not reject the config, but is told."""
        validation = check(PRIMARY | {"openai_api_bse": "https://x"})
        assert validation.snapshot is not None
        assert [(p.code, p.severity, p.hint) for p in validation.warnings] == [
            ("LR106", "warning", "Did you mean 'openai_api_base'?")
        ]

    def test_rows_of_other_software_pass_in_silence(self) -> None:
        """A product may keep its own rows beside ours."""
        assert check(PRIMARY | {"theme": "dark", "smtp_host": "mail"}).problems == ()


class TestProfile:
    def test_profile_rows_reach_the_deployments(self) -> None:
        """Limits that litellm does not know can be given per deployment."""
        rows = PRIMARY | {
            "llm_profile": {"max_input_tokens": 32000, "image_inputs": False},
            "llm_fallback_config": {"provider": "openai", "model": "m", "profile": {"max_input_tokens": 8000}},
        }
        snapshot = accepted(rows)
        assert snapshot.primary.profile == {"max_input_tokens": 32000, "image_inputs": False}
        assert snapshot.fallbacks[0].profile == {"max_input_tokens": 8000}

    @pytest.mark.parametrize("profile", [[1], {"max_input_tokens": "many"}, {"max_input_tokens": -1}])
    def test_unusable_profile_is_a_problem(self, profile: object) -> None:
        """Fields are true, false or whole numbers."""
        assert rejected(PRIMARY | {"llm_profile": profile}) == [("LR103", "settings.llm_profile")]


class TestIdentity:
    def test_deployment_id_changes_with_key_endpoint_and_model_only(self) -> None:
        """What decides where a call goes, and as whom, decides the id; parameters do not."""
        base = accepted(PRIMARY).primary.id
        assert accepted(PRIMARY | {"llm_temperature": 0.1}).primary.id == base
        assert accepted(PRIMARY, KEYS | {"ANTHROPIC_API_KEY": "sk-ant-new"}).primary.id != base
        assert accepted(PRIMARY | {"anthropic_api_base": "http://127.0.0.1:1"}).primary.id != base
        assert accepted(PRIMARY | {"llm_model": "other"}).primary.id != base

    def test_cache_identity_ignores_the_key(self) -> None:
        """Answers depend on provider, model and parameters; a rotated key keeps the LLM cache."""
        base = accepted(PRIMARY)
        rotated = accepted(PRIMARY, KEYS | {"ANTHROPIC_API_KEY": "sk-ant-new"})
        other = accepted(PRIMARY | {"llm_temperature": 0.1})
        identities = [snapshot.models["default"].identity for snapshot in (base, rotated, other)]
        assert identities[0] == identities[1] != identities[2]
        assert not rotated.serves_like(base)
        assert accepted(PRIMARY | {"theme": "dark"}).serves_like(base)
