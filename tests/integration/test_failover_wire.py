"""Credentials and base URLs reach the wire as each provider wants them, whatever was pasted into the settings."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core import exceptions as core

from liverouter.testing import MemoryRouter, StandIn, service_account_json
from tests.kit.dialects import DIALECTS
from tests.kit.wires import LITELLM_WARNINGS
from tests.kit.world import METHODS, PROMPT, ask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from liverouter.testing import RecordedRequest

pytestmark = [
    *LITELLM_WARNINGS,
    # google-genai's own: how it makes its HTTP client
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession"),
]

JWT = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJzdGFuZC1pbiJ9.c2lnbmF0dXJl"


@pytest.fixture
def start() -> Iterator[Callable[..., StandIn]]:
    """A function that starts a stand-in, stopped with the test; it must have understood all it got."""
    running: list[StandIn] = []

    def begin(provider: str, **options: Any) -> StandIn:
        running.append(StandIn(provider, **options).start())
        return running[-1]

    yield begin
    for standin in running:
        standin.stop()
    assert [standin.violations for standin in running if standin.violations] == []


def answer(rows: dict[str, Any], secrets: dict[str, str], *, plain: bool = False) -> str:
    """Return who answers under *rows*, asked for a whole answer and for a stream."""
    with MemoryRouter({**rows, "litellm_enable": not plain}, secrets=secrets) as live:
        said = [ask(live.chat_model(), method) for method in ("invoke", "astream")]
    assert all(PROMPT in str(message.content) for message in said)
    providers = {message.response_metadata["liverouter"]["provider"] for message in said}
    assert len(providers) == 1
    return str(providers.pop())


def chats(standin: StandIn) -> list[RecordedRequest]:
    """Return the model calls that *standin* saw."""
    return [request for request in standin.requests if request.kind == "chat"]


@pytest.mark.parametrize("plain", [False, True], ids=["litellm", "plain"])
class TestBaseUrl:
    @pytest.mark.parametrize(
        ("dialect", "path"),
        [
            ("anthropic", ""),
            ("anthropic", "/"),
            ("anthropic", "/v1"),
            ("anthropic", "/v1/messages"),
            ("openai", ""),
            ("openai", "/v1/"),
            ("openai", "/v1/chat/completions"),
            ("azure-openai", "/"),
            ("azure-openai", "/openai/deployments/prod/chat/completions?api-version=2024-10-21"),
            ("vertex-ai", "/v1"),
            ("vertex-ai claude", "/v1/projects/p/locations/l/publishers/anthropic/models/m:rawPredict"),
            ("snowflake", ""),
            ("snowflake", "/api/v2/cortex/v1/chat/completions"),
        ],
    )
    def test_pasted_url_works(self, start: Callable[..., StandIn], dialect: str, path: str, *, plain: bool) -> None:
        """An Anthropic base that ends in /v1 does not become /v1/v1; no other one goes wrong either."""
        kind = DIALECTS[dialect]
        standin = start(kind.provider)
        rows = kind.rows(standin) | {kind.base: standin.base_url + path}
        assert answer(rows, {kind.key: kind.secret_for(standin, "primary")}, plain=plain) == kind.provider
        assert not [request for request in standin.requests if request.kind == "unknown"]


@pytest.mark.parametrize("plain", [False, True], ids=["litellm", "plain"])
class TestCredentials:
    def test_azure_takes_a_key(self, start: Callable[..., StandIn], *, plain: bool) -> None:
        """An API key travels as `api-key`, to the deployment in the path."""
        standin = start("azure-openai", accept_keys={"the-key"})
        assert answer(_azure(standin), {"azure_openai_api_key": "the-key"}, plain=plain) == "azure-openai"
        assert {request.path for request in chats(standin)} == {"/openai/deployments/prod/chat/completions"}
        assert {request.query["api-version"] for request in chats(standin)} == {"2024-12-01-preview"}

    def test_azure_takes_an_entra_token(self, start: Callable[..., StandIn], *, plain: bool) -> None:
        """A token travels as a bearer, and no key beside it."""
        standin = start("azure-openai", accept_keys={"the-token"})
        assert answer(_azure(standin), {"azure_openai_ad_token": "the-token"}, plain=plain) == "azure-openai"
        assert {request.headers.get("authorization") for request in chats(standin)} == {"Bearer the-token"}
        assert {request.headers.get("api-key") for request in chats(standin)} <= {None, ""}

    @pytest.mark.parametrize(
        ("token", "kind"),
        [
            ("the-token", "PROGRAMMATIC_ACCESS_TOKEN"),
            ("pat/the-token", "PROGRAMMATIC_ACCESS_TOKEN"),
            (JWT, "KEYPAIR_JWT"),
        ],
    )
    def test_snowflake_takes_both_kinds_of_token(
        self, start: Callable[..., StandIn], token: str, kind: str, *, plain: bool
    ) -> None:
        """The token travels bare, and its kind beside it."""
        bare = token.removeprefix("pat/")
        standin = start("snowflake-cortex", accept_keys={bare})
        rows = DIALECTS["snowflake"].rows(standin)
        assert answer(rows, {"snowflake_token": token}, plain=plain) == "snowflake-cortex"
        seen = {request.headers["x-snowflake-authorization-token-type"] for request in chats(standin)}
        assert seen == {kind}

    @pytest.mark.parametrize("dialect", ["vertex-ai", "vertex-ai claude"])
    def test_vertex_trades_a_service_account_for_a_token(
        self, start: Callable[..., StandIn], dialect: str, *, plain: bool
    ) -> None:
        """The key signs for a token at the account's own address; the project comes from the key where none is set."""
        standin = start("vertex-ai", accept_keys=())
        rows = DIALECTS[dialect].rows(standin) | {"vertex_ai_location": "europe-west4"}
        secrets = {"vertex_ai_credentials": service_account_json(standin.base_url, project="from-the-key")}
        assert answer(rows, secrets, plain=plain) == "vertex-ai"
        assert [request.kind for request in standin.requests].count("token") >= 1
        for request in chats(standin):
            assert "/projects/from-the-key/locations/europe-west4/" in request.path
            assert request.headers["authorization"].startswith("Bearer ya29.")

    @pytest.mark.parametrize("dialect", ["vertex-ai", "vertex-ai claude"])
    def test_vertex_takes_ambient_credentials(
        self,
        start: Callable[..., StandIn],
        dialect: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        *,
        plain: bool,
    ) -> None:
        """With no secret stored, what the process's environment gives Google's libraries serves."""
        standin = start("vertex-ai", accept_keys=())
        key = tmp_path / "key.json"
        key.write_text(service_account_json(standin.base_url), encoding="utf-8")
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
        rows = DIALECTS[dialect].rows(standin) | {"vertex_ai_project_id": "ambient-project"}
        assert answer(rows, {}, plain=plain) == "vertex-ai"
        assert all("/projects/ambient-project/" in request.path for request in chats(standin))


class TestRefusedAccount:
    def test_google_s_refusal_is_an_authentication_error_and_cools_at_once(self, start: Callable[..., StandIn]) -> None:
        """A deleted service account fails at the token desk: that is a 401, tried once, and the fallback serves."""
        vertex, openai = start("vertex-ai"), start("openai")
        account = json.loads(service_account_json(vertex.base_url))
        account["client_email"] = "deleted@standin-project.iam.gserviceaccount.com"
        rows = DIALECTS["vertex-ai"].rows(vertex) | {"llm_fallback_config": DIALECTS["openai"].entry(openai)}
        secrets = {"vertex_ai_credentials": json.dumps(account), "spare": "sk-key"}
        with MemoryRouter(rows, secrets=secrets) as live:
            assert ask(live.chat_model()).response_metadata["liverouter"]["provider"] == "openai"
            primary = live.generation().snapshot.primary
            assert live.cooldowns.active()[primary.id].cause.status == 401
            live.set(llm_fallback_config=None)
            with pytest.raises(core.ModelError):
                ask(live.chat_model())
        assert chats(vertex) == []


class TestCost:
    def test_azure_s_base_model_prices_the_deployment(self, start: Callable[..., StandIn]) -> None:
        """A deployment called "prod" costs what its model costs, streamed or not."""
        standin = start("azure-openai")
        with MemoryRouter(_azure(standin), secrets={"azure_openai_api_key": "the-key"}) as live:
            costs = {ask(live.chat_model(), method).response_metadata["liverouter"]["cost_usd"] for method in METHODS}
        assert len(costs) == 1
        assert costs.pop() > 0

    def test_litellm_prices_an_answer_for_who_asks_its_router_alone(self, start: Callable[..., StandIn]) -> None:
        """A chat model's caller is told by us, which is the same price, and litellm's own sums are saved."""
        from litellm import cost_calculator

        priced: list[object] = []

        def price(*args: Any, **kwargs: Any) -> float:
            priced.append(args)
            return float(completion_cost(*args, **kwargs))

        completion_cost = cost_calculator.completion_cost
        standin = start("openai")
        with (
            MemoryRouter(DIALECTS["openai"].rows(standin), secrets={"openai_api_key": "sk-1"}) as live,
            pytest.MonkeyPatch.context() as patch,
        ):
            patch.setattr(cost_calculator, "completion_cost", price)
            model = live.chat_model()
            assert ask(model).response_metadata["liverouter"]["cost_usd"] > 0
            assert priced == []
            message = {"role": "user", "content": PROMPT}
            answer = asyncio.run(model.source.generation().router.acompletion("any", [message]))
        assert priced
        assert answer._hidden_params["response_cost"] > 0  # noqa: SLF001 - where litellm has it for its callers


def _azure(standin: StandIn) -> dict[str, Any]:
    return DIALECTS["azure-openai"].rows(standin) | {"azure_openai_api_version": "2024-12-01-preview"}
