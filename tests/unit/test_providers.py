"""What each provider needs, what is sent for it, and how base URLs that people write become ones that work."""

from __future__ import annotations

import tomllib
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, strategies as st

from liverouter.config.settings import SETTINGS
from liverouter.providers import ALIASES, PROVIDERS, is_claude
from liverouter.providers.snowflake import is_jwt, snowflake_base
from liverouter.providers.spec import NOWHERE
from liverouter.revision import Deployment
from tests.kit.deployments import deployment

ROOT = Path(__file__).parents[2]
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJhY2N0In0.c2ln"
HOST = "https://host.example"
URLS = [
    ("anthropic", HOST, HOST),
    ("anthropic", f"{HOST}/", HOST),
    ("anthropic", f"{HOST}/v1", HOST),
    ("anthropic", f"{HOST}/v1/", HOST),
    ("anthropic", f"{HOST}/v1/messages", HOST),
    ("anthropic", f"{HOST}/v1/v1", HOST),
    ("anthropic", f"{HOST}/proxy/anthropic/v1", f"{HOST}/proxy/anthropic"),
    ("anthropic", "HTTPS://host.example/v1?beta=true#x", HOST),
    ("openai", HOST, f"{HOST}/v1"),
    ("openai", f"{HOST}/v1/", f"{HOST}/v1"),
    ("openai", f"{HOST}/v1/chat/completions", f"{HOST}/v1"),
    ("openai", f"{HOST}/openai/v4", f"{HOST}/openai/v4"),
    ("azure-openai", f"{HOST}/", HOST),
    ("azure-openai", f"{HOST}/openai/deployments/d/chat/completions?api-version=2024-10-21", HOST),
    ("azure-openai", f"{HOST}/openai/v1/", HOST),
    ("vertex-ai", f"{HOST}/v1", HOST),
    ("vertex-ai", f"{HOST}/v1beta1/", HOST),
    ("vertex-ai", f"{HOST}/v1/projects/p/locations/l/publishers/google/models/m:generateContent", HOST),
    ("snowflake-cortex", HOST, f"{HOST}/api/v2"),
    ("snowflake-cortex", f"{HOST}/api/v2/", f"{HOST}/api/v2"),
    ("snowflake-cortex", f"{HOST}/api/v2/cortex/v1/chat/completions", f"{HOST}/api/v2"),
    ("snowflake-cortex", f"{HOST}/api/v2/cortex/inference:complete", f"{HOST}/api/v2"),
]
PATHS = st.lists(
    st.sampled_from(
        [
            "v1",
            "v1beta1",
            "messages",
            "openai",
            "deployments",
            "chat",
            "completions",
            "projects",
            "api",
            "v2",
            "cortex",
            "x",
        ]
    ),
    max_size=6,
).map("/".join)


class TestBaseUrls:
    @pytest.mark.parametrize(("provider", "written", "used"), URLS)
    def test_url_becomes_the_root_that_litellm_expects(self, provider: str, written: str, used: str) -> None:
        """What people paste, with version, path or slash, is cut back or completed."""
        assert PROVIDERS[provider].normalize_url(written) == used

    @given(provider=st.sampled_from(sorted(PROVIDERS)), path=PATHS)
    def test_normalizing_twice_changes_nothing(self, provider: str, path: str) -> None:
        """A stored, normalised URL stays what it is."""
        normalize = PROVIDERS[provider].normalize_url
        once = normalize(f"{HOST}/{path}")
        assert normalize(once) == once
        assert not once.endswith("/")

    @pytest.mark.parametrize(
        ("account", "host"),
        [
            ("myorg-myaccount", "myorg-myaccount.snowflakecomputing.com"),
            ("MYORG-MY_ACCOUNT", "myorg-my-account.snowflakecomputing.com"),
            ("xy12345.us-east-1", "xy12345.us-east-1.snowflakecomputing.com"),
            ("myorg-myaccount.snowflakecomputing.com", "myorg-myaccount.snowflakecomputing.com"),
            ("myorg-myaccount.snowflakecomputing.com.", "myorg-myaccount.snowflakecomputing.com"),
            ("https://myorg-myaccount.snowflakecomputing.com/", "myorg-myaccount.snowflakecomputing.com"),
            ("https://myorg-my_account.snowflakecomputing.cn", "myorg-my-account.snowflakecomputing.cn"),
        ],
    )
    def test_snowflake_account_becomes_a_host(self, account: str, host: str) -> None:
        """An account identifier, or the whole address it is shown with, both lead to the REST API."""
        assert snowflake_base({"snowflake_account": account}) == f"https://{host}/api/v2"

    def test_snowflake_base_wins_over_the_account(self) -> None:
        """An explicit address, a private link for example, is used as it is."""
        settings = {"snowflake_account": "a-b", "snowflake_api_base": "https://private.example/api/v2"}
        assert snowflake_base(settings) == "https://private.example/api/v2"


class TestParameters:
    @pytest.mark.parametrize(
        ("given", "sent"),
        [
            (
                deployment("anthropic", "claude-sonnet-4-6", {}, {"anthropic_api_key": "k"}),
                {"model": "anthropic/claude-sonnet-4-6", "api_key": "k", "api_base": "https://api.anthropic.com"},
            ),
            (
                deployment("openai", "gpt-4o", {"openai_api_base": f"{HOST}/v1"}, {"openai_api_key": "k"}),
                {"model": "openai/gpt-4o", "api_key": "k", "api_base": f"{HOST}/v1"},
            ),
            (
                deployment(
                    "azure-openai",
                    "gpt-4o",
                    {
                        "azure_openai_endpoint": HOST,
                        "azure_openai_deployment": "prod",
                        "azure_openai_api_version": "2024-10-21",
                        "azure_openai_base_model": "gpt-4o",
                    },
                    {"azure_openai_api_key": "k", "azure_openai_ad_token": "t"},
                ),
                {"model": "azure/prod", "api_key": "k", "api_base": HOST, "api_version": "2024-10-21"},
            ),
            (
                deployment(
                    "azure-openai",
                    "prod",
                    {"azure_openai_endpoint": HOST, "azure_openai_api_version": "2024-10-21"},
                    {"azure_openai_ad_token": "t"},
                ),
                {"model": "azure/prod", "azure_ad_token": "t", "api_base": HOST, "api_version": "2024-10-21"},
            ),
            (
                deployment(
                    "vertex-ai",
                    "gemini-2.5-flash",
                    {"vertex_ai_project_id": "p", "vertex_ai_location": "europe-west4"},
                    {"vertex_ai_credentials": "{}"},
                ),
                {
                    "model": "vertex_ai/gemini-2.5-flash",
                    "vertex_project": "p",
                    "vertex_location": "europe-west4",
                    "vertex_credentials": "{}",
                    "api_base": "https://europe-west4-aiplatform.googleapis.com",
                },
            ),
            (
                deployment("vertex-ai", "gemini-2.5-flash", {"vertex_ai_location": "global"}, {}),
                {
                    "model": "vertex_ai/gemini-2.5-flash",
                    "vertex_location": "global",
                    "api_base": "https://aiplatform.googleapis.com",
                },
            ),
            (
                deployment(
                    "snowflake-cortex", "llama3.1-70b", {"snowflake_account": "o-a"}, {"snowflake_token": "token"}
                ),
                {
                    "model": "snowflake/llama3.1-70b",
                    "api_key": "pat/token",
                    "api_base": "https://o-a.snowflakecomputing.com/api/v2",
                },
            ),
            (
                deployment("snowflake-cortex", "m", {"snowflake_account": "o-a"}, {"snowflake_token": "pat/token"}),
                {
                    "model": "snowflake/m",
                    "api_key": "pat/token",
                    "api_base": "https://o-a.snowflakecomputing.com/api/v2",
                },
            ),
            (
                deployment("snowflake-cortex", "m", {"snowflake_account": "o-a"}, {"snowflake_token": JWT}),
                {"model": "snowflake/m", "api_key": JWT, "api_base": "https://o-a.snowflakecomputing.com/api/v2"},
            ),
        ],
        ids=lambda value: value.label if isinstance(value, Deployment) else "",
    )
    def test_only_the_provider_s_own_parameters_are_made(self, given: Deployment, sent: dict[str, Any]) -> None:
        """Exactly these: no account beside a base, no second credential, an address that litellm need not choose."""
        assert PROVIDERS[given.provider].litellm_params(given) == sent

    @pytest.mark.parametrize("provider", [spec.name for spec in PROVIDERS.values() if not spec.members])
    def test_foreign_settings_and_secrets_are_never_sent(self, provider: str) -> None:
        """A deployment that held every setting of every provider would still send its own only."""
        names = [name for name in SETTINGS if not name.startswith(("llm_", "litellm_"))]
        everything = deployment(
            provider,
            "m",
            {n: f"value-of-{n}" for n in names if SETTINGS[n].kind != "secret"},
            {n: f"value-of-{n}" for n in names if SETTINGS[n].kind == "secret"},
        )
        own = {f.name for f in PROVIDERS[provider].fields}
        for value in PROVIDERS[provider].litellm_params(everything).values():
            assert not [n for n in names if n not in own and f"value-of-{n}" in str(value)]


class TestSpecs:
    @pytest.mark.parametrize("spec", PROVIDERS.values(), ids=lambda spec: spec.name)
    def test_spec_is_complete(self, spec: Any) -> None:
        """Every field is a setting of that provider, has a label, and what is needed is a field."""
        names = {f.name for f in spec.fields}
        assert {name for group in spec.needs for name in group} <= names
        assert set(spec.secret_names) <= names
        assert names <= set(SETTINGS)
        assert all(f.label for f in (*spec.fields, *spec.members))
        assert not names & set(spec.rejected)
        assert spec.endpoint({spec.base.name: HOST}, "m").startswith(HOST) or spec.endpoint({}, "m")
        assert bool(spec.members) is (spec.holder is not None)
        aliases = [f.alias for f in spec.fields if f.alias]
        assert len(aliases) == len(set(aliases))

    @pytest.mark.parametrize("spec", PROVIDERS.values(), ids=lambda spec: spec.name)
    @pytest.mark.parametrize("model", ["m", "claude-sonnet-4-6"])
    def test_both_engines_know_how(self, spec: Any, model: str) -> None:
        """What has to be changed in litellm is known there, the native class's extra can be installed."""
        from liverouter.routing.litellm_setup import load

        load()
        from liverouter.routing.litellm_patches import PATCHES

        assert set(spec.litellm_patches(model)) <= set(PATCHES)
        native, dialect = spec.native(model), spec.dialect(model)
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        assert spec.libraries
        if native.package:
            assert any(native.package.replace("_", "-") in requirement for requirement in extras[native.extra])
        if dialect is not None:
            assert dialect.params["api_base"].startswith(NOWHERE)
            assert dialect.whole
            assert dialect.events

    def test_every_patch_has_its_provider(self) -> None:
        """What nobody names is never applied."""
        from liverouter.routing.litellm_setup import load

        load()
        from liverouter.routing.litellm_patches import COMMON, PATCHES

        models = ("gemini-2.5-flash", "claude-sonnet-4-6")
        named = {name for spec in PROVIDERS.values() for model in models for name in spec.litellm_patches(model)}
        assert named | set(COMMON) == set(PATCHES)

    def test_ambient_credentials_are_the_cloud_s_own(self) -> None:
        """Whoever needs a secret has none of the machine's."""
        assert [spec.name for spec in PROVIDERS.values() if spec.takes_ambient] == ["vertex-ai"]

    def test_aliases_lead_to_providers(self) -> None:
        """Every nickname that a hint may suggest is of a provider there is, and none hides one."""
        assert set(ALIASES.values()) <= set(PROVIDERS)
        assert not set(ALIASES) & set(PROVIDERS)

    def test_endpoint_names_where_calls_go(self) -> None:
        """What people read is where requests are sent."""
        azure = {"azure_openai_endpoint": HOST, "azure_openai_deployment": "prod"}
        assert PROVIDERS["azure-openai"].endpoint(azure, "m") == f"{HOST}/openai/deployments/prod"
        vertex = PROVIDERS["vertex-ai"].endpoint
        assert vertex({"vertex_ai_location": "europe-west1"}, "m") == "https://europe-west1-aiplatform.googleapis.com"
        assert vertex({"vertex_ai_api_base": HOST}, "m") == HOST

    @pytest.mark.parametrize(
        ("model", "claude"), [("claude-sonnet-4-6", True), ("Claude-3-5", True), ("gemini-2.5-flash", False)]
    )
    def test_claude_is_known_by_its_name(self, model: str, *, claude: bool) -> None:
        """Whichever cloud serves it."""
        assert is_claude(model) is claude

    @pytest.mark.parametrize(("token", "jwt"), [(JWT, True), ("eyJhbGci", False), ("a.b.c", False), ("pat-1", False)])
    def test_jwt_is_told_from_an_access_token(self, token: str, *, jwt: bool) -> None:
        """Snowflake wants to be told which of the two it gets."""
        assert is_jwt(token) is jwt

    def test_specs_cannot_be_changed(self) -> None:
        """The table of providers is a constant."""
        assert isinstance(PROVIDERS, MappingProxyType)
