"""What providers' libraries read from the environment by themselves goes nowhere: no row says where it may go."""

from __future__ import annotations

import sys
import types
from typing import TYPE_CHECKING, Any, Final

import pytest
from langchain_core import exceptions as core
from langchain_openai.chat_models import _client_utils

from liverouter.testing import MemoryRouter, StandIn
from tests.kit.dialects import DIALECTS
from tests.kit.hostile import ENGINES, Hostile, answers, attacked
from tests.kit.standins import live
from tests.kit.wires import LITELLM_WARNINGS
from tests.kit.world import METHODS, ask

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [*LITELLM_WARNINGS]

CANARY: Final = "canary-of-another-address"
WAYS: Final = [  # one for each HTTP client; the other dialects share one of these
    *(("litellm", dialect) for dialect in ("openai", "azure-openai", "anthropic", "vertex-ai")),
    *(("native", dialect) for dialect in ("openai", "anthropic", "vertex-ai", "vertex-ai claude")),
]
# All that the libraries take for requests, beside the keys and bases that an attempt of ours always gives them.
VARIABLES: Final = {
    "AZURE_OPENAI_AD_TOKEN": CANARY,
    "AZURE_AD_TOKEN": CANARY,
    "AZURE_API_KEY": CANARY,
    "OPENAI_ORG_ID": CANARY,
    "OPENAI_ORGANIZATION": CANARY,
    "OPENAI_PROJECT_ID": CANARY,
    "OPENAI_CUSTOM_HEADERS": f"X-Gateway: {CANARY}\nX-Other:{CANARY}",
    "OPENAI_WEBHOOK_SECRET": CANARY,
    "OPENAI_PROXY": f"http://{CANARY}",
    "ANTHROPIC_PROXY": f"http://{CANARY}",
    "ANTHROPIC_AUTH_TOKEN": CANARY,
    "ANTHROPIC_CUSTOM_HEADERS": f"X-Gateway: {CANARY}\nX-Other:{CANARY}",
    "SNOWFLAKE_JWT": CANARY,
    "SNOWFLAKE_ACCOUNT_ID": CANARY,
    "GOOGLE_API_KEY": CANARY,
    "GEMINI_API_KEY": CANARY,
    "VERTEXAI_PROJECT": CANARY,
    "VERTEXAI_LOCATION": CANARY,
    "VERTEXAI_CREDENTIALS": CANARY,
    "LITELLM_USER_AGENT": CANARY,
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_variable_and_no_login_of_netrc_goes_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dialect: str, engine: str
) -> None:
    """However the call is made, not even where litellm's switch for proxies has aiohttp read them."""
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    netrc = tmp_path / "netrc"
    netrc.write_text(f"default login somebody password {CANARY}\n", encoding="utf-8")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("AIOHTTP_TRUST_ENV", "True")
    with attacked(dialect, engine) as (server, live):
        server.does(answers(b"HTTP/1.1 401 No\r\n", b"{}"))
        for method in METHODS:
            with pytest.raises(core.ModelAuthenticationError):
                ask(live.chat_model(), method)
        assert len(server.heads) == len(METHODS)
        assert all(b"key" in head.lower() or b"authorization" in head.lower() for head in server.heads)
        assert not [head for head in server.heads if CANARY.encode() in head or b"authorization: basic" in head.lower()]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "variables", [("AZURE_API_KEY", "AZURE_OPENAI_API_KEY"), ("AZURE_AD_TOKEN", "AZURE_OPENAI_AD_TOKEN")], ids=str
)
def test_token_of_a_row_is_what_goes_out(
    monkeypatch: pytest.MonkeyPatch, variables: tuple[str, ...], engine: str
) -> None:
    """By each of litellm's routes, whatever credential the environment has."""
    for name in variables:
        monkeypatch.setenv(name, CANARY)
    with Hostile(answers(b"HTTP/1.1 401 No\r\n", b"{}")) as server:
        rows = {
            "llm_provider": "azure-openai",
            "llm_model": "gpt-4o",
            "azure_openai_endpoint": server.origin,
            "litellm_enable": ENGINES[engine],
        }
        with MemoryRouter(rows, secrets={"azure_openai_ad_token": "of-the-row"}) as live:
            for number, model in enumerate(("gpt-4o", "o1", "gpt-5-codex"), 1):
                live.set(llm_model=model)
                with pytest.raises(core.ModelError):
                    ask(live.chat_model())
                assert len(server.heads) >= number
        assert not [head for head in server.heads if CANARY.encode() in head]
        assert all(b"authorization: bearer of-the-row" in head.lower() for head in server.heads)


def test_no_token_that_litellm_fetches_by_itself_goes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """With AZURE_USERNAME and its kin litellm asks Entra, whatever key it was given."""
    identity: Any = types.ModuleType("azure.identity")
    identity.UsernamePasswordCredential = identity.ClientSecretCredential = lambda *_, **__: None
    identity.get_bearer_token_provider = lambda *_: lambda: CANARY
    monkeypatch.setitem(sys.modules, "azure", types.ModuleType("azure"))
    monkeypatch.setitem(sys.modules, "azure.identity", identity)
    for name in ("USERNAME", "PASSWORD", "CLIENT_ID"):
        monkeypatch.setenv(f"AZURE_{name}", "x")
    with attacked("azure-openai", "litellm") as (server, live):
        server.does(answers(b"HTTP/1.1 401 No\r\n", b"{}"))
        with pytest.raises(core.ModelError):
            ask(live.chat_model())
        assert server.heads
        assert CANARY.encode() not in server.heads[0]
        assert b"api-key: azure-key" in server.heads[0].lower()


@pytest.mark.parametrize("names", [("USERNAME", "PASSWORD", "CLIENT_ID"), ("TENANT_ID", "CLIENT_ID", "CLIENT_SECRET")])
@pytest.mark.parametrize("secret", ["azure_openai_api_key", "azure_openai_ad_token"])
def test_nor_does_it_look_for_one(monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], secret: str) -> None:
    """A call does not fail for want of a package that would fetch what nobody wants."""
    monkeypatch.setitem(sys.modules, "azure", None)
    for name in names:
        monkeypatch.setenv(f"AZURE_{name}", "x")
    with StandIn("azure-openai") as standin:
        rows = DIALECTS["azure-openai"].rows(standin)
        with MemoryRouter(rows, secrets={secret: "of-the-row"}) as live:
            ask(live.chat_model())
        assert "of-the-row" in str(standin.requests[0].headers)


@pytest.mark.parametrize(("engine", "dialect"), WAYS)
def test_what_is_for_this_machine_passes_no_proxy(monkeypatch: pytest.MonkeyPatch, dialect: str, engine: str) -> None:
    """A key may go to loopback because nobody else reads it there; the error says what to set, and then it goes."""
    with Hostile(answers(b"HTTP/1.1 401 No\r\n", b"{}")) as proxy, attacked(dialect, engine) as (server, live):
        server.does(answers(b"HTTP/1.1 401 No\r\n", b"{}"))
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.origin)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        live.set(litellm_timeout=30)  # clients that are made with the proxy in force
        for method in ("invoke", "astream"):
            with pytest.raises(Exception, match=r"NO_PROXY=127\.0\.0\.1,localhost"):
                ask(live.chat_model(), method)
        assert (proxy.heads, server.heads) == ([], [])
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        live.set(litellm_timeout=31)
        with pytest.raises(core.ModelError):
            ask(live.chat_model())
        assert (proxy.heads, len(server.heads)) == ([], 1)


@pytest.mark.parametrize("provider", ["openai", "azure-openai", "openai-compatible"])
def test_proxies_are_nothing_to_warn_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, provider: str
) -> None:
    """The library says that none will be asked, once in a process, whoever made the clients that ask them."""
    monkeypatch.setattr(_client_utils, "_proxy_env_warning_emitted", False, raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with StandIn(provider) as standin, live(standin, litellm_enable=False) as client:
        client.chat_model().invoke("hi")
    assert [record for record in caplog.records if record.name.startswith("langchain_openai")] == []
