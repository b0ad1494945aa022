"""Where a credential may go: origins are read as every URL parser reads them, or not at all."""

from __future__ import annotations

from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given, strategies as st

from liverouter.providers import PROVIDERS
from liverouter.secrecy.origins import is_loopback, origin_of

PIECES = st.sampled_from(
    [
        *"/\\@:#?.[]%&;= \t",
        "https://",
        "http://",
        "evil.example",
        "api.openai.com",
        "127.0.0.1",
        "[::1]",
        "443",
        "0",
        "\u017f",
        "\u3002",
    ]
)


class TestOrigin:
    @pytest.mark.parametrize(
        ("url", "origin"),
        [
            ("https://API.OpenAI.com/v1", "https://api.openai.com"),
            ("https://h:443/x", "https://h"),
            ("http://h:80", "http://h"),
            ("http://h:443", "http://h:443"),
            ("https://h:08443?a=b", "https://h:8443"),
            ("https://[::1]:8/x", "https://[::1]:8"),
            (" https://h ", "https://h"),
        ],
    )
    def test_scheme_host_and_port_decide(self, url: str, origin: str) -> None:
        """Path, case and the scheme's own port make no difference."""
        assert origin_of(url) == origin

    @pytest.mark.parametrize(
        "url",
        [
            *(
                "https://a\\@evil.example/",
                "https://u@h",
                "https://u:p@h",
                "https://h:0",
                "https://h:65536",
                "https://",
            ),
            *(
                "https://\uff48.example/",
                "https://api.openai.com\u3002evil.example",
                "https://api\u017f.example",
                "ftp://h",
                "//h",
            ),
            *("https://h\t.example", "https://h%2f.example", "https:/h", "javascript:alert(1)", ""),
        ],
    )
    def test_what_parsers_may_read_differently_has_none(self, url: str) -> None:
        """No user, no backslash, no letter beyond ASCII, no port that a server cannot have."""
        assert origin_of(url) == ""

    @given(st.lists(PIECES, max_size=8).map("".join))
    def test_an_origin_is_where_clients_go(self, url: str) -> None:
        """Whatever has an origin goes to just that host and port, as the HTTP client and urllib read it."""
        if not (origin := origin_of(url)):
            return
        scheme, _, place = origin.partition("://")
        try:
            seen = httpx.URL(url.strip())
        except httpx.InvalidURL:
            return  # and so goes nowhere
        default = {"http": 80, "https": 443}[scheme]
        shown = f"[{seen.host}]" if ":" in seen.host else seen.host
        port = seen.port or default
        assert (seen.scheme, place) == (scheme, shown if port == default else f"{shown}:{port}")
        assert urlsplit(url.strip()).hostname == seen.host

    @pytest.mark.parametrize(
        ("origin", "here"),
        [
            *(
                (f"http://{host}", True)
                for host in ("127.0.0.1:1", "localhost", "localhost:8000", "[::1]:1", "127.9.9.9")
            ),
            *((f"http://{host}", False) for host in ("localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1")),
            *(
                (f"http://{host}", False)
                for host in ("1.0.0.127", "127.1", "0x7f.1", "[::ffff:10.0.0.1]", "evil.example:127")
            ),
        ],
    )
    def test_this_machine_is_known(self, origin: str, *, here: bool) -> None:
        """Names and numbers that merely look like it are other hosts."""
        assert is_loopback(origin) is here


class TestOwnHosts:
    @pytest.mark.parametrize(
        ("provider", "host"),
        [
            ("anthropic", "api.anthropic.com"),
            ("openai", "api.openai.com"),
            ("openai", "eu.api.openai.com"),
            ("vertex-ai", "us-central1-aiplatform.googleapis.com"),
            ("vertex-ai", "aiplatform.googleapis.com"),
            ("vertex-ai", "aiplatform.eu.rep.googleapis.com"),
            ("azure-openai", "team.openai.azure.com"),
            ("azure-openai", "team.services.ai.azure.com"),
            ("snowflake-cortex", "org-account.snowflakecomputing.com"),
            ("snowflake-cortex", "xy1.eu-central-1.privatelink.snowflakecomputing.com"),
        ],
    )
    def test_provider_s_own_are_known_over_tls_only(self, provider: str, host: str) -> None:
        """Its regions and accounts are its own; plain text, another port and another name are not."""
        spec = PROVIDERS[provider]
        assert spec.is_own(f"https://{host}")
        others = (f"http://{host}", f"https://{host}:8443", f"https://{host}.evil.example", f"https://evil-{host}.net")
        assert not any(spec.is_own(origin) for origin in others)
        assert spec.is_own(origin_of(f"https://{host.upper()}:443/v1"))
        written = (f"https://{host}./", f"https://u:p@{host}", f"https://{host}@evil.example", f"https://{host}%2eevil")
        assert not any(spec.is_own(origin_of(url)) for url in written)
        assert not any(spec.is_own(origin) for origin in (f"https://evil-{host}.example.org", f"https://{host}\n"))
        assert not any(other.is_own(f"https://{host}") for name, other in PROVIDERS.items() if name != provider)

    @pytest.mark.parametrize("spec", PROVIDERS.values(), ids=lambda spec: spec.name)
    def test_default_address_is_the_provider_s_own(self, spec: object) -> None:
        """Where calls go without a base URL needs no permission."""
        settings = {"snowflake_account": "org-account", "vertex_ai_location": "europe-west4"}
        if spec.name not in ("azure-openai", "openai-compatible"):  # type: ignore[attr-defined]  # these have none
            model = "groq/m" if spec.members else "m"  # type: ignore[attr-defined]
            assert spec.is_own(origin_of(spec.endpoint(settings, model)))  # type: ignore[attr-defined]
