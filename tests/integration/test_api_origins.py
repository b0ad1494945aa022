"""Through the API no key goes where it was not meant to, and no file is read: neither saved, nor checked, nor tried."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from liverouter.secrecy.sealing import generate_key
from liverouter.testing import StandIn, service_account_json
from tests.kit.http import Api

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

KEY: Final = "sk-test-0123456789abcdef"
EVIL: Final = "https://evil.example"


@pytest.fixture
def standin_options() -> dict[str, Any]:
    """What the stand-ins are made with: each knows one key."""
    return {"accept_keys": [KEY]}


@pytest.fixture(scope="module")
def api(new_database: Callable[[str], AbstractContextManager[str]]) -> Iterator[Api]:
    """The API on a database that the tests in here share."""
    with new_database("api_origins") as dsn, Api(dsn, secret_keys=generate_key()) as api:
        yield api


def config(openai: StandIn, **settings: Any) -> dict[str, Any]:
    """Return the settings of a config that serves, and *settings*."""
    return {"llm_provider": "openai", "llm_model": "gpt-5.4", "openai_api_base": openai.api_base, **settings}


class TestOrigins:
    def test_key_is_bound_to_the_base_it_is_saved_with(self, api: Api, openai: StandIn) -> None:
        """The config says where each stored secret may be sent; the catalogue says which hosts are a provider's own."""
        api.save(settings=config(openai, openai_api_base="https://gw.internal/v1"), secrets={"openai_api_key": KEY})
        assert api.get("/api/config")["secrets"]["openai_api_key"]["origins"] == ["https://gw.internal"]
        assert api.get("/api/config")["problems"] == []
        (spec,) = [p for p in api.get("/api/providers")["providers"] if p["name"] == "openai"]
        assert "api\\.openai\\.com" in spec["own_hosts"]

    @pytest.mark.parametrize("live", [False, True])
    def test_check_sends_a_stored_key_nowhere_else(self, api: Api, openai: StandIn, *, live: bool) -> None:
        """A draft with another base is LR111 before any call is made."""
        api.save(settings=config(openai), secrets={"openai_api_key": KEY})
        before = len(openai.requests)
        said = api.client.post("/api/check", json={"settings": {"openai_api_base": EVIL}, "live": live}).json()
        assert (said["ok"], [p["code"] for p in said["problems"]], said["calls"]) == (False, ["LR111"], [])
        assert said["problems"][0]["where"] == "settings.openai_api_base"
        assert len(openai.requests) == before

    def test_saved_base_without_the_key_is_a_problem_until_the_key_is_saved_for_it(
        self, api: Api, openai: StandIn
    ) -> None:
        """As the page shows it: the answer says what is wrong; the key with the base, once more, mends it."""
        api.save(settings=config(openai), secrets={"openai_api_key": KEY})
        elsewhere = {"openai_api_base": "https://gw.internal/v1"}
        answer = api.client.put("/api/config", json={"settings": elsewhere}, headers={"If-Match": "*"}).json()
        assert [p["code"] for p in answer["problems"]] == ["LR111"]
        body = {"secrets": {"openai_api_key": KEY}}
        answer = api.client.put("/api/config", json=body, headers={"If-Match": "*"}).json()
        assert (answer["changed"], answer["problems"]) == (True, [])


class TestVendors:
    """Of the provider litellm: each key is bound to the vendor of the model that it is saved with."""

    def test_key_does_not_move_with_the_model(self, api: Api, openai: StandIn) -> None:
        """LR111 for a draft, and for what is saved; the key once more, with the model, mends it."""
        entry = {"provider": "litellm", "model": "groq/m", "litellm_params": {"api_key": {"secret": "team"}}}
        api.save(settings=config(openai, **{"llm:fast": entry}), secrets={"openai_api_key": KEY, "team": "of-groq"})
        assert api.get("/api/config")["secrets"]["team"]["origins"] == ["https://api.groq.com"]
        moved = {"llm:fast": entry | {"model": "xai/m"}}
        said = api.client.post("/api/check", json={"settings": moved}).json()
        assert [(p["code"], p["where"]) for p in said["problems"]] == [
            ("LR111", "settings.llm:fast.litellm_params.api_key")
        ]
        copied = {"llm:slow": moved["llm:fast"]}
        answer = api.client.put("/api/config", json={"settings": copied}, headers={"If-Match": "*"}).json()
        assert [p["code"] for p in answer["problems"]] == ["LR111"]
        body = {"settings": {**moved, "llm:slow": None}, "secrets": {"team": "of-xai"}}
        answer = api.client.put("/api/config", json=body, headers={"If-Match": "*"}).json()
        assert answer["problems"] == []
        assert api.get("/api/config")["secrets"]["team"]["origins"] == ["https://api.x.ai"]
        (spec,) = [p for p in api.get("/api/providers")["providers"] if p["name"] == "litellm"]
        assert "groq" not in spec["own_hosts"]


class TestGoogleCredentials:
    @pytest.mark.parametrize("route", ["/api/check", "/api/config"])
    def test_no_file_is_read_by_a_federation(self, api: Api, tmp_path: Path, route: str) -> None:
        """`credential_source.file` of a draft once had the daemon send any file it may read to any address."""
        file = tmp_path / "only-for-the-daemon"
        file.write_text("content-of-the-file")
        with StandIn("vertex-ai") as vertex:
            account = {
                "type": "external_account",
                "audience": "a",
                "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
                "token_url": f"{vertex.base_url}/token",
                "credential_source": {"file": str(file)},
            }
            body: dict[str, Any] = {
                "settings": {
                    "llm_provider": "vertex-ai",
                    "llm_model": "gemini-2.5-pro",
                    "vertex_ai_project_id": "p",
                    "vertex_ai_api_base": vertex.api_base,
                },
                "secrets": {"vertex_ai_credentials": json.dumps(account)},
            }
            method = "POST" if route == "/api/check" else "PUT"
            more = {"live": True} if method == "POST" else {}
            answer = api.client.request(method, route, json=body | more, headers={"If-Match": "*"})
            assert (answer.status_code, answer.json()["code"]) == (422, "LR113")
            assert "content-of-the-file" not in answer.text
            assert not vertex.requests
            good = body | {"secrets": {"vertex_ai_credentials": service_account_json(vertex.base_url)}}
            answer = api.client.request(method, route, json=good | more, headers={"If-Match": "*"})
            assert answer.status_code == 200, answer.text


class TestValues:
    @pytest.mark.parametrize(
        "body",
        [
            {"settings": {"azure_openai_api_version": "os.environ/LIVEROUTER_ADMIN_TOKEN"}},
            {"settings": {"llm_fallback_config": {"provider": "openai", "model": "oidc/env/HOME"}}},
            {"secrets": {"openai_api_key": "os.environ/LIVEROUTER_ADMIN_TOKEN"}},
        ],
    )
    def test_reference_is_refused_and_nothing_is_stored(self, api: Api, body: dict[str, Any]) -> None:
        """What a library would look up is no value, of a setting or of a secret."""
        before = api.get("/api/config")["revision"]
        answer = api.client.put("/api/config", json=body, headers={"If-Match": "*"})
        assert (answer.status_code, answer.json()["code"]) == (422, "LR112")
        assert api.get("/api/config")["revision"] == before
