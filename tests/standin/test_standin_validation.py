"""A stand-in takes what its provider takes and refuses the rest in the provider's own shape."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import httpx
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from liverouter.testing import StandIn, service_account_json
from tests.kit.dialects import AZURE_V1, DIALECTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    from tests.kit.dialects import Dialect

WAIT_S = 60.0  # for an answer, however busy the machine is


@dataclass(frozen=True, slots=True)
class Way:
    """One dialect asked over bare HTTP.

    Attributes:
        dialect: where to.
        headers: with a credential.
        body: the smallest one that is taken.
        error: returns the message in an error body; fails where the shape is another.
    """

    dialect: Dialect
    headers: dict[str, str]
    body: dict[str, Any]
    error: Callable[[Any], str]
    query: dict[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Where an answer is asked for."""
        return self.dialect.path


def _openai_error(body: Any) -> str:
    assert set(body["error"]) == {"message", "type", "param", "code"}
    return str(body["error"]["message"])


def _azure_error(body: Any) -> str:
    assert set(body["error"]) >= {"message", "code"}
    return str(body["error"]["message"])


def _anthropic_error(body: Any) -> str:
    assert (body["type"], set(body), set(body["error"])) == (
        "error",
        {"type", "error", "request_id"},
        {"type", "message"},
    )
    return str(body["error"]["message"])


def _google_error(body: Any) -> str:
    if body.get("type") == "error":  # Claude's own service
        return _anthropic_error(body)
    assert set(body["error"]) == {"code", "message", "status"}
    return str(body["error"]["message"])


def _snowflake_error(body: Any) -> str:
    assert set(body) == {"code", "message", "request_id", "error_code"}
    return str(body["message"])


HI: list[dict[str, Any]] = [{"role": "user", "content": "hi"}]
BEARER = {"authorization": "Bearer standin-key"}
CHAT: dict[str, Any] = {"model": "m", "messages": HI}
MESSAGES: dict[str, Any] = {"model": "m", "messages": HI, "max_tokens": 9000}
CLAUDE: dict[str, Any] = {"anthropic_version": "vertex-2023-10-16", "messages": HI, "max_tokens": 9}
F: dict[str, Any] = {"name": "f", "input_schema": {"type": "object"}}
VERSION = {"anthropic-version": "2023-06-01"}

WAYS = (
    Way(DIALECTS["openai"], BEARER, CHAT, _openai_error),
    Way(DIALECTS["azure-openai"], {"api-key": "k"}, {"messages": HI}, _azure_error, {"api-version": "2024-10-21"}),
    Way(AZURE_V1, BEARER, CHAT, _azure_error),
    Way(DIALECTS["anthropic"], {"x-api-key": "k", **VERSION}, MESSAGES, _anthropic_error),
    Way(DIALECTS["vertex-ai"], BEARER, {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}, _google_error),
    Way(DIALECTS["vertex-ai claude"], BEARER, CLAUDE, _google_error),
    Way(DIALECTS["snowflake"], BEARER, CHAT, _snowflake_error),
    Way(DIALECTS["snowflake claude"], BEARER, MESSAGES, _snowflake_error),
)
BY_NAME = {way.dialect.name: way for way in WAYS}


@pytest.fixture
def way(request: pytest.FixtureRequest) -> Way:
    """The way in that a test asks for."""
    found: Way = BY_NAME[request.param]
    return found


@pytest.fixture
def standin(way: Way) -> Iterator[StandIn]:
    """Its stand-in."""
    with StandIn(way.dialect.provider) as running:
        yield running


def every(*names: str) -> pytest.MarkDecorator:
    """Return the mark that runs a test for these ways in; for all without names."""
    return pytest.mark.parametrize("way", names or tuple(BY_NAME), indirect=True)


def post(standin: StandIn, way: Way, **other: Any) -> httpx.Response:
    """Send the way's request with other *headers*, *query*, *path* or *body*."""
    return httpx.post(
        standin.base_url + other.get("path", way.path),
        headers=other.get("headers", way.headers),
        params=other.get("query", way.query),
        json=other.get("body", way.body),
        timeout=WAIT_S,
    )


def refused(standin: StandIn, way: Way, **body: Any) -> str:
    """Send *body* over the way's own and return the message of the 400 that comes back."""
    response = post(standin, way, body={key: value for key, value in (way.body | body).items() if value is not None})
    assert response.status_code == 400, response.text
    return way.error(response.json())


def accepted(standin: StandIn, way: Way, **body: Any) -> None:
    """Send *body* over the way's own; it must be taken."""
    response = post(standin, way, body=way.body | body)
    assert response.status_code == 200, response.text


@every()
class TestEveryProvider:
    def test_its_own_request_is_taken(self, standin: StandIn, way: Way) -> None:
        """The smallest one there is."""
        accepted(standin, way)
        assert standin.violations == ()

    @pytest.mark.parametrize("name", ["order", "litellm_params", "account_identifier", "metadata_x", "api_base"])
    def test_an_unknown_parameter_is_a_400_that_names_it(self, standin: StandIn, way: Way, name: str) -> None:
        """No foreign parameter is ever sent unnoticed."""
        message = refused(standin, way, **{name: "x"})
        assert name.replace("_", "") in message.replace("_", "").lower()  # Google names it in camel case

    def test_a_missing_parameter_is_a_400(self, standin: StandIn, way: Way) -> None:
        """Each that is required, left out."""
        for name in way.body:
            assert refused(standin, way, **{name: None})

    def test_no_credential_is_a_401(self, standin: StandIn, way: Way) -> None:
        """In the provider's shape."""
        response = post(standin, way, headers=VERSION)
        assert response.status_code == 401
        assert way.error(response.json())

    def test_an_unknown_path_is_a_404(self, standin: StandIn, way: Way) -> None:
        """A base URL that is wrong by one segment, as /v1/v1 is."""
        response = post(standin, way, path="/v1" + way.path)
        assert response.status_code == 404
        assert way.error(response.json())

    def test_get_is_a_404(self, standin: StandIn, way: Way) -> None:
        """Answers are asked for by POST."""
        url = standin.base_url + way.path
        assert httpx.get(url, headers=way.headers, timeout=WAIT_S).status_code == 404


CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
ASSISTANT = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "done"}


@every("openai", "snowflake")
class TestChatCompletions:
    def test_a_tool_call_must_be_answered(self, standin: StandIn, way: Way) -> None:
        """By the next messages, each by its id."""
        accepted(standin, way, messages=[*HI, ASSISTANT, RESULT])
        for history in ([*HI, ASSISTANT], [*HI, ASSISTANT, *HI]):
            assert "must be followed by tool messages" in refused(standin, way, messages=history)

    def test_a_tool_result_must_answer_a_call(self, standin: StandIn, way: Way) -> None:
        """A stray result is refused."""
        assert "must be a response to a preceding message" in refused(standin, way, messages=[*HI, RESULT])

    @pytest.mark.parametrize(
        ("name", "value"),
        [("temperature", "hot"), ("max_tokens", 1.5), ("top_p", True), ("stream", "yes"), ("stop", 1), ("tools", {})],
    )
    def test_a_value_of_the_wrong_type_is_refused(self, standin: StandIn, way: Way, name: str, value: object) -> None:
        """With the parameter's name."""
        assert f"Invalid type for '{name}'" in refused(standin, way, **{name: value})

    def test_roles_and_contents_are_checked(self, standin: StandIn, way: Way) -> None:
        """A role of another provider, no messages, no content."""
        assert "Supported values" in refused(standin, way, messages=[{"role": "model", "content": "x"}])
        assert "empty array" in refused(standin, way, messages=[])
        assert "got null" in refused(standin, way, messages=[{"role": "user", "content": None}])

    def test_tool_choice_needs_the_tool(self, standin: StandIn, way: Way) -> None:
        """None offered, or not that one."""
        tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
        choice = {"type": "function", "function": {"name": "g"}}
        assert "only allowed when 'tools'" in refused(standin, way, tool_choice="required")
        assert "'g' not found" in refused(standin, way, tools=tools, tool_choice=choice)

    def test_stream_options_need_a_stream(self, standin: StandIn, way: Way) -> None:
        """Without one they are refused."""
        assert "'stream' is enabled" in refused(standin, way, stream_options={"include_usage": True})


USE = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
USED = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "done"}


@every("anthropic", "vertex-ai claude", "snowflake claude")
class TestMessages:
    def test_tool_use_must_be_answered_next(self, standin: StandIn, way: Way) -> None:
        """And only what was asked may be answered."""
        loop = [*HI, {"role": "assistant", "content": [USE]}, {"role": "user", "content": [USED]}]
        accepted(standin, way, messages=loop)
        assert "without `tool_result` blocks" in refused(standin, way, messages=[*loop[:2], *HI])
        assert "unexpected `tool_use_id`" in refused(standin, way, messages=[{"role": "user", "content": [USED]}])

    @pytest.mark.parametrize(
        ("message", "complaint"),
        [
            ({"role": "system", "content": "x"}, "messages.0.role"),
            ({"role": "user", "content": "x", "name": "n"}, "messages.0.name: Extra inputs are not permitted"),
            ({"role": "user", "content": [{"type": "text", "text": "x", "id": "1"}]}, "text.id: Extra inputs"),
            ({"role": "user", "content": [{"type": "text", "text": ""}]}, "must be non-empty"),
            ({"role": "user", "content": [{"text": "x"}]}, "type: Field required"),
            ({"role": "user", "content": []}, "must have non-empty content"),
            ({"role": "user", "content": 1}, "should be a valid list"),
        ],
    )
    def test_messages_are_checked_to_the_last_key(
        self, standin: StandIn, way: Way, message: dict[str, Any], complaint: str
    ) -> None:
        """Roles, unknown keys, empty texts."""
        assert complaint in refused(standin, way, messages=[message])

    def test_a_foreign_thinking_block_is_refused(self, standin: StandIn, way: Way) -> None:
        """The signature must be one that the provider gave."""
        block = {"type": "thinking", "thinking": "hm", "signature": "another provider's"}
        history = [*HI, {"role": "assistant", "content": [block, {"type": "text", "text": "so"}]}, *HI]
        assert "Invalid `signature`" in refused(standin, way, messages=history)

    @pytest.mark.parametrize(
        ("more", "complaint"),
        [
            ({"thinking": True}, "thinking: Input should be a valid dictionary"),
            ({"thinking": {"budget_tokens": 2000}}, "'adaptive', 'disabled', 'enabled'"),
            ({"thinking": {"type": "enabled"}}, "budget_tokens: Field required"),
            ({"thinking": {"type": "enabled", "budget_tokens": "2000"}}, "budget_tokens: Input should be a valid int"),
            ({"thinking": {"type": "enabled", "budget_tokens": True}}, "budget_tokens: Input should be a valid int"),
            ({"thinking": {"type": "enabled", "budget_tokens": 1023}}, "greater than or equal to 1024"),
            ({"thinking": {"type": "enabled", "budget_tokens": 9000}}, "must be greater than `thinking.budget_tokens`"),
            ({"thinking": {"type": "enabled", "budget_tokens": 2000}, "temperature": 0}, "only be set to 1"),
            (
                {
                    "thinking": {"type": "enabled", "budget_tokens": 2000},
                    "tools": [F],
                    "tool_choice": {"type": "any"},
                },
                "forces tool use",
            ),
            (
                {
                    "thinking": {"type": "enabled", "budget_tokens": 2000},
                    "messages": [*HI, {"role": "assistant", "content": [USE]}, {"role": "user", "content": [USED]}],
                },
                "must start with a thinking block",
            ),
            ({"max_tokens": 0}, "greater than or equal to 1"),
            ({"max_tokens": "many"}, "valid integer"),
            ({"temperature": 1.5}, "range: 0..1"),
            ({"top_p": "much"}, "valid number"),
            ({"tool_choice": {"type": "tool", "name": "g"}, "tools": [F]}, "'g' not found"),
            ({"tool_choice": "any", "tools": [F]}, "does not match any of the expected tags"),
            ({"tool_choice": {"type": "any"}}, "only be specified while providing tools"),
        ],
    )
    def test_parameters_must_go_together(
        self, standin: StandIn, way: Way, more: dict[str, Any], complaint: str
    ) -> None:
        """Thinking has its rules, numbers their ranges, a forced tool must be there."""
        assert complaint in refused(standin, way, **{"max_tokens": 9000, **more})


@every("anthropic")
class TestAnthropicVersions:
    def test_a_version_must_be_named_and_known(self, standin: StandIn, way: Way) -> None:
        """Left out or made up it is refused."""
        for headers in ({"x-api-key": "k"}, {"x-api-key": "k", "anthropic-version": "2024-01-01"}):
            assert post(standin, way, headers=headers).status_code == 400

    def test_a_bearer_token_will_do(self, standin: StandIn, way: Way) -> None:
        """As the official SDKs send the key since their version 2."""
        assert post(standin, way, headers={**BEARER, **VERSION}).status_code == 200

    @pytest.mark.parametrize(
        ("more", "status"),
        [
            ({"temperature": 1}, 400),
            ({"top_k": 1}, 400),
            ({"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "citations": [{}]}]}]}, 400),
            ({}, 200),
        ],
    )
    def test_the_latest_version_removed_some(
        self, standin: StandIn, way: Way, more: dict[str, Any], status: int
    ) -> None:
        """What 2023-06-01 takes, 2026-10-21 refuses."""
        latest = {"x-api-key": "k", "anthropic-version": "2026-10-21"}
        assert post(standin, way, body=way.body | more).status_code == 200
        assert post(standin, way, headers=latest, body=way.body | more).status_code == status


@every("vertex-ai claude")
class TestClaudeOnVertex:
    def test_the_version_is_in_the_body_and_the_model_in_the_path(self, standin: StandIn, way: Way) -> None:
        """Another version or a model in the body are refused."""
        assert "vertex-2023-10-16" in refused(standin, way, anthropic_version="2023-06-01")
        assert "model: Extra inputs" in refused(standin, way, model="m")

    def test_the_latest_version_is_known_here_too(self, standin: StandIn, way: Way) -> None:
        """And refuses what it refuses everywhere."""
        accepted(standin, way, anthropic_version="2026-10-21")
        assert "temperature: Extra" in refused(standin, way, anthropic_version="2026-10-21", temperature=1)


@every("vertex-ai")
class TestGemini:
    def test_both_spellings_are_taken(self, standin: StandIn, way: Way) -> None:
        """Camel case and snake case alike."""
        accepted(standin, way, generationConfig={"maxOutputTokens": 5}, systemInstruction={"parts": [{"text": "x"}]})
        accepted(
            standin, way, generation_config={"max_output_tokens": 5}, system_instruction={"parts": [{"text": "x"}]}
        )

    @pytest.mark.parametrize(
        ("more", "complaint"),
        [
            ({"generationConfig": {"max_tokens": 1}}, "\"maxTokens\" at 'generation_config'"),
            ({"contents": [{"role": "assistant", "parts": [{"text": "x"}]}]}, "valid role: user, model"),
            ({"contents": [{"role": "user", "parts": []}]}, "at least one parts field"),
            ({"contents": [{"role": "user", "parts": [{"txt": "x"}]}]}, '"txt"'),
            ({"contents": [{"role": "user", "text": "x"}]}, '"text"'),
            ({"contents": []}, "at least one contents field"),
            ({"contents": "hi"}, "Invalid value at 'contents'"),
            ({"contents": ["hi"]}, "Invalid value at 'contents[0]'"),
            ({"contents": [{"role": "user"}]}, "at least one parts field"),
            ({"contents": [{"role": "user", "parts": "hi"}]}, "Invalid value at 'contents[0].parts'"),
            ({"contents": [{"role": "user", "parts": [1]}]}, "Invalid value at 'contents[0].parts[0]'"),
            ({"contents": [{"role": "user", "parts": [{"text": 1}]}]}, "Invalid value at 'contents[0].parts[0].text'"),
            ({"generationConfig": {"maxOutputTokens": "many"}}, "Invalid value at 'generation_config"),
            (
                {
                    "contents": [
                        {"role": "user", "parts": [{"text": "x"}]},
                        {"role": "model", "parts": [{"functionCall": {"name": "f"}}]},
                    ]
                },
                "immediately after a function call turn",
            ),
            (
                {"contents": [{"role": "user", "parts": [{"functionResponse": {"name": "f"}}]}]},
                "number of function response parts",
            ),
            (
                {"toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["g"]}}},
                "'g' is not a declared function",
            ),
        ],
    )
    def test_unknown_fields_and_broken_turns_are_refused(
        self, standin: StandIn, way: Way, more: dict[str, Any], complaint: str
    ) -> None:
        """At every level."""
        assert complaint in refused(standin, way, **more)

    def test_a_lone_object_stands_for_a_list_of_one(self, standin: StandIn, way: Way) -> None:
        """As Google reads JSON, and its own examples are written."""
        accepted(standin, way, contents={"role": "user", "parts": {"text": "hi"}})

    def test_a_stream_is_asked_for_as_server_sent_events(self, standin: StandIn, way: Way) -> None:
        """`alt=sse` is the only way it streams here."""
        path = way.path.replace(":generate", ":streamGenerate")
        assert post(standin, way, path=path, query={"alt": "sse"}).headers["content-type"] == "text/event-stream"
        assert post(standin, way, path=path).status_code == 404


@every("azure-openai")
class TestAzure:
    @pytest.mark.parametrize("query", [{}, {"api-version": ""}, {"api-version": "soon"}])
    def test_the_api_version_must_be_there(self, standin: StandIn, way: Way, query: dict[str, str]) -> None:
        """Azure finds nothing without it."""
        assert post(standin, way, query=query).status_code == 404

    def test_an_entra_token_will_do(self, standin: StandIn, way: Way) -> None:
        """Instead of the key."""
        assert post(standin, way, headers=BEARER).status_code == 200


@every("snowflake")
class TestSnowflakeTokens:
    @pytest.mark.parametrize(
        ("kind", "token", "status"),
        [
            ("PROGRAMMATIC_ACCESS_TOKEN", "pat", 200),
            ("PROGRAMMATIC_ACCESS_TOKEN", "pat/pat", 401),
            ("KEYPAIR_JWT", "a.b.c", 200),
            ("KEYPAIR_JWT", "pat", 401),
            ("PASSWORD", "secret", 401),
        ],
    )
    def test_the_type_must_fit_the_token(self, standin: StandIn, way: Way, kind: str, token: str, status: int) -> None:
        """The `pat/` prefix that litellm wants must not arrive; a token that is no JWT must not be called one."""
        headers = {"authorization": f"Bearer {token}", "x-snowflake-authorization-token-type": kind}
        assert post(standin, way, headers=headers).status_code == status


def _encoded(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def _assertion(key: RSAPrivateKey, **claims: Any) -> str:
    account = json.loads(service_account_json("http://127.0.0.1"))
    now = int(time.time())
    told = {"iss": account["client_email"], "iat": now, "exp": now + 600, **claims}
    signed = f"{_encoded({'alg': 'RS256', 'kid': account['private_key_id']})}.{_encoded(told)}"
    signature = key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{signed}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


@pytest.fixture(scope="module")
def own_key() -> RSAPrivateKey:
    """The throw-away key of this process."""
    pem = json.loads(service_account_json("http://127.0.0.1"))["private_key"].encode()
    key = serialization.load_pem_private_key(pem, password=None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


@every("vertex-ai")
class TestTokens:
    @staticmethod
    def grant(
        standin: StandIn, assertion: str, kind: str = "urn:ietf:params:oauth:grant-type:jwt-bearer"
    ) -> httpx.Response:
        """Ask the token endpoint."""
        form = urlencode({"grant_type": kind, "assertion": assertion})
        return httpx.post(standin.base_url + "/token", content=form, timeout=WAIT_S)

    def test_a_signed_grant_gets_a_token_that_is_accepted(self, way: Way, own_key: RSAPrivateKey) -> None:
        """Even where no other credential is."""
        with StandIn("vertex-ai", accept_keys=()) as strict:
            token = self.grant(strict, _assertion(own_key)).json()["access_token"]
            assert post(strict, way, headers={"authorization": f"Bearer {token}"}).status_code == 200
            assert post(strict, way).status_code == 401
            assert (strict.hits, strict.requests[0].kind) == (2, "token")

    def test_a_foreign_signature_gets_none(self, standin: StandIn) -> None:
        """400 and the reason, as Google says it."""
        stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        response = self.grant(standin, _assertion(stranger))
        assert (response.status_code, response.json()["error_description"]) == (400, "Invalid JWT Signature.")

    @pytest.mark.parametrize(
        ("claims", "reason"),
        [
            ({"iat": 1, "exp": 1801}, "short-lived token"),
            ({"exp": "soon"}, "short-lived token"),
            ({"exp": None}, "short-lived token"),
            ({"exp": 10**11}, "short-lived token"),
            ({"iat": 10**11, "exp": 10**11 + 60}, "short-lived token"),
            ({"iss": "someone@else"}, "account not found"),
        ],
    )
    def test_wrong_claims_get_none(
        self, standin: StandIn, own_key: RSAPrivateKey, claims: dict[str, Any], reason: str
    ) -> None:
        """Expired, of no time, for longer than an hour, from the future, or of an account that is not known."""
        response = self.grant(standin, _assertion(own_key, **claims))
        assert response.status_code == 400
        assert reason in response.json()["error_description"]

    @pytest.mark.parametrize("assertion", ["", "a.b", "a.b.c", "e30.W10.x", "e30.e30."])
    def test_what_is_no_jwt_gets_none(self, standin: StandIn, assertion: str) -> None:
        """Whatever it is."""
        assert self.grant(standin, assertion).json()["error"] == "invalid_grant"

    def test_a_padded_signature_gets_none(self, standin: StandIn, own_key: RSAPrivateKey) -> None:
        """The parts of a JWT are written without padding."""
        signed = _assertion(own_key)
        assert self.grant(standin, signed).status_code == 200
        assert self.grant(standin, signed + "==").json()["error"] == "invalid_grant"

    def test_another_grant_type_gets_none(self, standin: StandIn) -> None:
        """Only service accounts are served."""
        assert self.grant(standin, "", kind="refresh_token").json()["error"] == "unsupported_grant_type"
