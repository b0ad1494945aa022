"""The provider "litellm": which members its object takes, where keys may go, and which models it is asked for."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pytest

from liverouter.config.draft import origins_in_force, sealed_unless_same, secrets_referred_to
from liverouter.config.environment import Environment
from liverouter.config.validate import validate
from liverouter.config.values import clip
from liverouter.errors import ConfigError
from liverouter.providers import PROVIDERS
from liverouter.revision import Rows
from liverouter.secrecy.sealing import Keyring, Secret, generate_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from liverouter.config.validate import Validation

KEYRING: Final = Keyring.from_text(generate_key())
SPEC: Final = PROVIDERS["litellm"]
MEMBERS: Final = {field.name for field in SPEC.members}
EVIL: Final = "https://evil.example"
KEY: Final[dict[str, Any]] = {"api_key": {"secret": "team"}}
AWS: Final[dict[str, Any]] = {
    "aws_region_name": "eu-west-1",
    "aws_access_key_id": {"secret": "aws_id"},
    "aws_secret_access_key": {"secret": "aws_secret"},
}
PRIMARY: Final = {"llm_provider": "anthropic", "llm_model": "claude-sonnet-4-6"}
SECRETS: Final = {
    "team": "key-of-the-team",
    "aws_id": "id-of-aws",
    "aws_secret": "secret-of-aws",
    "anthropic_api_key": "k",
}


def rows(model: str = "openrouter/meta/llama-3", **params: Any) -> dict[str, Any]:
    """Return rows that make *model* the primary."""
    return {"llm_provider": "litellm", "llm_model": model, "litellm_params": params}


def entry(model: str = "openrouter/meta/llama-3", **params: Any) -> dict[str, Any]:
    """Return rows that make *model* a fallback."""
    return {**PRIMARY, "llm_fallback_config": {"provider": "litellm", "model": model, "litellm_params": params}}


def named(model: str = "openrouter/meta/llama-3", **params: Any) -> dict[str, Any]:
    """Return rows that make *model* the one called "fast"."""
    return {**PRIMARY, "llm:fast": {"provider": "litellm", "model": model, "litellm_params": params}}


PLACES: Final = {
    rows: "settings.litellm_params",
    entry: "settings.llm_fallback_config.litellm_params",
    named: "settings.llm:fast.litellm_params",
}


def judged(
    settings: Mapping[str, Any],
    *,
    stored_with: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Validation:
    """Validate *settings* with the secrets stored while rows *stored_with* were in force, by default these."""
    before = settings if stored_with is None else stored_with
    sealed = {
        name: sealed_unless_same(None, name, Secret(value), KEYRING, origins=origins_in_force(before, name))
        for name, value in SECRETS.items()
    }
    raw = Rows("e1", 7, "c1", datetime(2026, 11, 23, tzinfo=UTC), 1.0, dict(settings), sealed)
    return validate(raw, environment=Environment(environ or {}), keyring=KEYRING)


def codes(validation: Validation) -> list[tuple[str, str]]:
    """Return (code, where) of every error; each has a hint."""
    errors = [problem for problem in validation.problems if problem.severity == "error"]
    assert all(problem.hint for problem in errors)
    return [(problem.code, problem.where) for problem in errors]


@pytest.mark.parametrize("made", PLACES)
class TestMembers:
    def test_key_by_reference_is_enough(self, made: Any) -> None:
        """As a row, in a fallback, in a named model; the address is known, and nothing else is sent."""
        snapshot = judged(made(**KEY)).snapshot
        assert snapshot is not None
        found = next(d for d in snapshot.deployments if d.provider == "litellm")
        assert SPEC.litellm_params(found) == {
            "model": "openrouter/meta/llama-3",
            "api_base": "https://openrouter.ai/api/v1",
            "api_key": "key-of-the-team",
        }
        assert (found.endpoint, found.credential_source) == ("https://openrouter.ai/api/v1", "secret team")

    @pytest.mark.parametrize("name", sorted(field.name for field in SPEC.members if field.kind == "secret"))
    @pytest.mark.parametrize(
        "value", ["a-plain-key", {"key": "x"}, {"secret": ""}, 7, ["x"], {"secret": "sk-abcdefgh12"}]
    )
    def test_credentials_stand_there_by_reference_alone(self, made: Any, name: str, value: Any) -> None:
        """A plain one is refused, and never repeated."""
        validation = judged(made(**{**KEY, name: value}))
        assert "LR110" in {code for code, _ in codes(validation)}
        assert "a-plain-key" not in repr(validation.problems)

    @pytest.mark.parametrize(
        ("params", "code"),
        [
            ({"api_base": "not a url"}, "LR105"),
            ({"api_base": 7}, "LR103"),
            ({"api_base": "os.environ/HOME"}, "LR112"),
            ({"api_version": "oidc/file//etc/passwd"}, "LR112"),
            ({"organization": "x os.environ/HOME"}, "LR112"),
            ({"api_base": "https://u:p@gateway.internal"}, "LR110"),
            ({"api_key": {"secret": "nobodys"}}, "LR102"),
            ({"api_version": "1&x=#"}, "LR104"),
        ],
    )
    def test_values_stay_values(self, made: Any, params: dict[str, Any], code: str) -> None:
        """Nothing is resolved by a library, and nothing is more than it says."""
        assert code in {found for found, _ in codes(judged(made(**(KEY | params))))}

    def test_object_is_an_object(self, made: Any) -> None:
        """What else stands there is named, in its place."""
        settings = made()
        holder = next((v for v in settings.values() if isinstance(v, dict) and "litellm_params" in v), settings)
        holder["litellm_params"] = "api_key"
        assert codes(judged(settings))[0] == ("LR103", PLACES[made])

    @pytest.mark.parametrize(
        ("wrong", "hint"),
        [
            ("api_kye", "Did you mean 'api_key'?"),
            ("aws_region", "Did you mean 'aws_region_name'?"),
            ("base_url", "Write it as api_base"),
            ("aws_bedrock_runtime_endpoint", "Write it as api_base"),
            ("timeout", "llm_timeout"),
            ("extra_headers", "llm_params"),
        ],
    )
    def test_wrong_name_is_told_what_is_meant(self, made: Any, wrong: str, hint: str) -> None:
        """In place of being ignored."""
        validation = judged(made(**(KEY | {wrong: "x"})))
        assert codes(validation) == [("LR106", f"{PLACES[made]}.{wrong}")]
        assert hint in validation.problems[0].hint


def test_no_other_member_of_litellm_s_is_taken() -> None:
    """Each that litellm reads beside these is refused with a hint: callbacks, mocks, endpoints, roles, files."""
    if "litellm" not in sys.modules:
        from liverouter.routing.litellm_setup import load

        load()
    from litellm.types.router import CredentialLiteLLMParams, GenericLiteLLMParams

    known = {
        *CredentialLiteLLMParams.model_fields,
        *GenericLiteLLMParams.model_fields,
        "callbacks",
        "base_url",
        "client",
    }
    known |= {"mock_response", "custom_llm_provider", "fallbacks", "headers", "ssl_verify", "http_client", "api_type"}
    others = sorted(known - MEMBERS)
    assert len(others) > 80
    assert known >= MEMBERS
    for name in others:
        found = judged(rows(**(KEY | {name: "x"}))).problems
        places = [problem.where for problem in found if problem.code in ("LR106", "LR110") and problem.hint]
        assert places == [f"settings.litellm_params.{clip(name)}"], name


class TestKeysGoWhereTheyWereMeantToGo:
    @pytest.mark.parametrize("made", PLACES)
    def test_base_of_a_later_row_gets_no_key(self, made: Any) -> None:
        """LR111 names both addresses; the key that was stored beside that base may go there."""
        settings = made(api_base=f"{EVIL}/v1", **KEY)
        validation = judged(settings, stored_with=made(**KEY))
        assert codes(validation) == [("LR111", f"{PLACES[made]}.api_base")]
        assert f"liverouter set --secret team --for {EVIL}" in validation.problems[0].hint
        assert judged(settings).snapshot is not None
        assert judged(made(api_base="http://127.0.0.1:8000", **KEY), stored_with={}).snapshot is not None

    @pytest.mark.parametrize("made", PLACES)
    @pytest.mark.parametrize("other", sorted({*SPEC.vendors} - {"openrouter", "bedrock", "ollama", "ollama_chat"}))
    def test_vendor_gets_no_other_vendor_s_key(self, made: Any, other: str) -> None:
        """However well it is known: a change of the model alone does not move a key."""
        assert judged(made(**KEY)).snapshot is not None
        moved = made(f"{other}/m", **KEY)
        validation = judged(moved, stored_with=made(**KEY))
        assert codes(validation) == [("LR111", f"{PLACES[made]}.api_key")]
        assert "stored for https://openrouter.ai; this leads to" in validation.problems[0].message
        assert judged(moved).snapshot is not None
        said = made(f"{other}/m", api_base=SPEC.vendors[other], **KEY)
        assert codes(judged(said, stored_with=made(**KEY))) == [("LR111", f"{PLACES[made]}.api_base")]

    @pytest.mark.parametrize("made", PLACES)
    def test_region_gets_no_other_region_s_keys(self, made: Any) -> None:
        """Nor does another partition of AWS, or another vendor."""
        before = made("bedrock/x", **AWS)
        for region in ("us-east-1", "cn-north-1"):
            found = codes(judged(made("bedrock/x", **(AWS | {"aws_region_name": region})), stored_with=before))
            assert {code for code, _ in found} == {"LR111"}
        key = {"api_key": {"secret": "aws_secret"}}
        assert codes(judged(made("groq/x", **key), stored_with=before)) == [("LR111", f"{PLACES[made]}.api_key")]

    @pytest.mark.parametrize("provider", ["openai", "anthropic"])
    def test_provider_of_its_own_gets_no_vendor_s_key(self, provider: str) -> None:
        """Nor the other way round; what was stored for a gateway may be the provider's own as well."""
        fast = {"provider": provider, "model": "gpt-5.4", "api_key": {"secret": "team"}}
        asked = {**PRIMARY, "llm:fast": fast}
        gateway = {**PRIMARY, "llm:fast": {**fast, "api_base": "https://gateway.internal"}}
        assert codes(judged(asked, stored_with=rows(**KEY))) == [("LR111", "settings.llm:fast.api_key")]
        for before in ({}, gateway, asked):
            assert judged(asked, stored_with=before).snapshot is not None
        assert codes(judged(rows(**KEY), stored_with=asked)) == [("LR111", "settings.litellm_params.api_key")]

    def test_key_that_nothing_asked_for_goes_nowhere(self) -> None:
        """Until it is stored beside the rows that ask for it, or for an address that is named."""
        validation = judged(rows(**KEY), stored_with={})
        assert codes(validation) == [("LR111", "settings.litellm_params.api_key")]
        assert "stored for this machine alone" in validation.problems[0].message
        assert "liverouter set --secret team --for https://openrouter.ai" in validation.problems[0].hint

    @pytest.mark.parametrize("name", ["aws_id", "aws_secret"])
    def test_every_secret_is_held_and_not_the_first_alone(self, name: str) -> None:
        """Each of them is sent, or signs what is sent."""
        whole = rows("bedrock/anthropic.claude-v2", **AWS)
        assert judged(whole).snapshot is not None
        elsewhere = rows("bedrock/anthropic.claude-v2", **AWS, api_base=EVIL)
        validation = judged(elsewhere, stored_with=PRIMARY)
        assert {code for code, _ in codes(validation)} == {"LR111"}
        assert any(name in problem.message for problem in validation.problems)

    def test_other_providers_keys_stay_theirs(self) -> None:
        """Anthropic's own key is sent to Anthropic, whoever refers to it."""
        found = codes(judged(rows(api_key={"secret": "anthropic_api_key"})))
        assert found == [("LR111", "settings.litellm_params.api_key")]

    def test_environment_gives_references_alone(self) -> None:
        """No variable that litellm itself would read, and no base by a variable of the same name."""
        environ = {"LIVEROUTER_SECRET_SPARE": "spare", "API_BASE": EVIL, "API_KEY": "x", "OPENROUTER_API_KEY": "x"}
        snapshot = judged(rows(api_key={"secret": "spare"}), environ=environ).snapshot
        assert snapshot is not None
        assert snapshot.primary.credential_source == "environment LIVEROUTER_SECRET_SPARE"
        assert codes(judged(rows(api_key={"secret": "spare"}, api_base=EVIL), environ=environ)) == [
            ("LR111", "settings.litellm_params.api_base")
        ]
        bare = judged(rows(), environ=environ).snapshot
        assert bare is not None
        assert SPEC.litellm_params(bare.primary)["api_key"] == "none"

    def test_secrets_are_bound_to_the_base_beside_them(self) -> None:
        """In rows, fallbacks and named models."""
        for made in PLACES:
            settings = made(api_base="https://gateway.internal/v1", **KEY)
            assert origins_in_force(settings, "team") == ("https://gateway.internal",)
            assert "team" in secrets_referred_to(settings)
            assert origins_in_force(made(**KEY), "team") == ("https://openrouter.ai",)
            assert origins_in_force(made("cohere/command-r", **KEY), "team") == ()

    def test_whole_row_may_come_from_the_environment(self) -> None:
        """As every row."""
        settings = {"llm_provider": "litellm", "llm_model": "groq/llama"}
        environ = {"LITELLM_PARAMS": '{"api_key": {"secret": "team"}}'}
        snapshot = judged(settings, stored_with=rows("groq/llama", **KEY), environ=environ).snapshot
        assert snapshot is not None
        assert snapshot.primary.secrets["api_key"].reveal() == "key-of-the-team"


class TestDormant:
    def test_row_that_nobody_uses_binds_no_key(self) -> None:
        """Nor a base of another provider's than the primary's: it would have the key at the next change of rows."""
        planted: dict[str, Any] = {
            "litellm_params": {"api_base": "https://evil.example", "api_key": {"secret": "openai_api_key"}}
        }
        planted |= {"openai_api_base": "https://evil.example", "llm_provider": "anthropic"}
        assert origins_in_force(planted, "openai_api_key") == ()
        assert origins_in_force(planted | {"llm_provider": "openai"}, "openai_api_key") == ("https://evil.example",)
        assert origins_in_force(planted | {"llm_provider": "litellm"}, "openai_api_key") == ("https://evil.example",)


class TestModels:
    @pytest.mark.parametrize(
        "model",
        [
            *("gpt-4o", "openrouter", "/x", "openrouter/", "openai/*", "groq//x", "groq/../x", "groq/a b", "Groq/x"),
            *(
                "huggingface/https://evil.example/x",
                "groq/x?y=1",
                "groq/x#",
                "vertex_ai/gemini-2.5-pro",
                "azure/gpt-4o",
            ),
            *("github_copilot/gpt-4o", "chatgpt/gpt-5", "vllm/x", "sagemaker/x", "auto_router/x", "openai/gpt-4o"),
            *("anthropic/claude-sonnet-4-6", "snowflake/x", "custom/x", "petals/x", "watsonx/x", "aiohttp_openai/x"),
            *("databricks/x", "nlp_cloud/x", "maritalk/x", "amazon_nova/x", "huggingface/x", "replicate/x", "zzz/x"),
            *("text-completion-openai/x", "text-completion-codestral/evil/repo", "bytez/petals-team/x", "triton/x"),
            *("groq/ft:babbage-002", "groq/x-davinci-002", "groq/replicate/x", "bedrock/ft:gpt-3.5-turbo"),
            *("bedrock/claude_platform/x", "openrouter/openai/ft:gpt-4o"),
        ],
    )
    def test_model_is_litellm_s_name_and_goes_by_key_and_address(self, model: str) -> None:
        """No URL, no wildcard, no provider of our own, and none whose requests were seen to leave the guarded way."""
        assert codes(judged(rows(model, **KEY))) == [("LR118", "settings.llm_model")]
        assert codes(judged(entry(model, **KEY))) == [("LR118", "settings.llm_fallback_config.model")]

    @pytest.mark.parametrize(("model", "name"), [("azure/x", "azure-openai"), ("openai/x", "openai")])
    def test_provider_of_its_own_is_named(self, model: str, name: str) -> None:
        """Which is tested, and knows more."""
        assert name in judged(rows(model, **KEY)).problems[0].hint

    def test_gateway_may_be_called_by_its_maker_s_name(self) -> None:
        """With a base of its own."""
        assert judged(rows("openai/gpt-4o", api_base="http://127.0.0.1:4000/v1", **KEY)).snapshot is not None

    def test_address_is_known_or_said(self) -> None:
        """Where it is neither, no key leaves: litellm would choose one."""
        validation = judged(rows("cohere/command-r", **KEY))
        assert codes(validation) == [("LR100", "settings.litellm_params")]
        settings = rows("cohere/command-r", api_base="https://api.cohere.com/v2/chat", **KEY)
        assert judged(settings, stored_with=settings).snapshot is not None
        assert "Did you mean 'openrouter'?" in judged(rows("openruter/x", **KEY)).problems[0].hint

    @pytest.mark.parametrize("region", ["evil.example/", "evil.example#", "x@evil.example", "us-east-1.evil"])
    def test_region_becomes_no_other_host(self, region: str) -> None:
        """It is a piece of one."""
        found = codes(judged(rows("bedrock/x", **(AWS | {"aws_region_name": region}))))
        assert ("LR104", "settings.litellm_params.aws_region_name") in found

    def test_bedrock_needs_region_and_keys_of_rows(self) -> None:
        """The machine's own credentials are never used for a row, whatever the environment holds."""
        environ = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y", "AWS_REGION": "eu-west-1"}
        region: dict[str, Any] = {"aws_region_name": "eu-west-1"}
        cases: list[tuple[dict[str, Any], str]] = [
            ({}, "LR100"),
            (region, "LR102"),
            (region | {"aws_access_key_id": {"secret": "aws_id"}}, "LR102"),
        ]
        for params, code in cases:
            assert codes(judged(rows("bedrock/x", **params), environ=environ)) == [(code, "settings.litellm_params")]
        snapshot = judged(rows("bedrock/x", **region, **KEY)).snapshot
        assert snapshot is not None
        assert snapshot.primary.endpoint == "https://bedrock-runtime.eu-west-1.amazonaws.com"

    @pytest.mark.parametrize("variable", ["AWS_ROLE_NAME", "AWS_BEARER_TOKEN_BEDROCK", "AWS_SESSION_TOKEN"])
    def test_environment_that_litellm_would_prefer_is_a_problem(
        self, variable: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is found before anything is sent."""
        snapshot = judged(rows("bedrock/x", **AWS)).snapshot
        assert snapshot is not None
        for name in ("AWS_ROLE_NAME", "AWS_BEARER_TOKEN_BEDROCK", "AWS_SESSION_TOKEN", "AWS_PROFILE_NAME"):
            monkeypatch.delenv(name, raising=False)
        assert SPEC.litellm_params(snapshot.primary)["aws_access_key_id"] == "id-of-aws"
        monkeypatch.setenv(variable, "ambient")
        with pytest.raises(ConfigError, match=variable) as raised:
            SPEC.litellm_params(snapshot.primary)
        assert raised.value.problems[0].code == "LR119"

    def test_nickname_leads_here(self) -> None:
        """Whoever names the vendor as the provider is told how."""
        validation = judged({"llm_provider": "openrouter", "llm_model": "x"})
        assert "Did you mean 'litellm'?" in validation.problems[0].hint
        assert (
            "Did you mean 'openai-compatible'?" in judged({"llm_provider": "vllm", "llm_model": "x"}).problems[0].hint
        )


class TestWithoutLitellm:
    def test_primary_is_an_error(self) -> None:
        """LR117 says what serves it."""
        assert codes(judged(rows(**KEY) | {"litellm_enable": False})) == [("LR117", "settings.litellm_enable")]

    @pytest.mark.parametrize("made", [entry, named])
    def test_fallback_is_a_warning(self, made: Any) -> None:
        """It is left out; the primary of a named model is one."""
        validation = judged(made(**KEY) | {"litellm_enable": False})
        found = [(p.code, p.severity) for p in validation.problems]
        assert found == [("LR117", "warning" if made is entry else "error")]


def test_hosts_are_told_to_the_page() -> None:
    """One pattern, which a browser reads as well."""
    assert re.fullmatch(SPEC.own_hosts, "bedrock-runtime.eu-west-1.amazonaws.com")
    assert not re.fullmatch(SPEC.own_hosts, "openrouterxai")
