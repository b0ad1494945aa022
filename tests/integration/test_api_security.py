"""Who may use the API, from where, with what: tokens, sessions, hosts, origins, limits, headers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from liverouter.daemon.auth import AdminToken, LoginLimiter
from liverouter.daemon.request_guard import MAX_BODY_BYTES, Policy
from tests.kit.http import Api, HTTPConnection

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN: Final = "a-long-random-admin-token-0123456789"
JSON: Final = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def database(server: Any) -> str:
    """A database that is not there: nothing in here needs one, and the API must answer all the same."""
    return str(server.dsn("liverouter_no_such_database"))


@pytest.fixture(scope="module")
def guarded(database: str) -> Iterator[Api]:
    """The API with a token."""
    with Api(database, token=TOKEN) as api:
        yield api


@pytest.fixture(scope="module")
def local(database: str) -> Iterator[Api]:
    """The API on loopback, with a token that its client sends."""
    with Api(database) as api:
        yield api


@pytest.fixture(scope="module")
def unguarded(database: str) -> Iterator[Api]:
    """The API of `liverouter serve --no-token`."""
    with Api(
        database, policy=Policy(admin_token=AdminToken(None), login_limiter=LoginLimiter(), any_host=False)
    ) as api:
        yield api


def bearer(token: str) -> dict[str, str]:
    """Return the header that sends *token*."""
    return {"Authorization": f"Bearer {token}"}


class TestToken:
    @pytest.mark.parametrize(
        "path",
        [
            "/api/status",
            "/api/config",
            "/api/events",
            "/api/try",
            "/metrics",
            "/api/nothing",
            "/nothing",
            "//api/config",
            "/API/config",
            "/api/config/",
            "/api/./config",
            "/%61pi/config",
            "/metrics/",
            "/%6detrics",
            "/page/../api/config",
            "/api/session/",
            "/livez/x",
            "*",
            "http://127.0.0.1/api/config",
        ],
    )
    def test_everything_but_the_probes_wants_it(self, guarded: Api, path: str) -> None:
        """Without the token it is 401, however a path is spelt, whether it exists or not, by whatever method."""
        for method in ("GET", "HEAD", "OPTIONS", "PUT", "TRACE"):
            with HTTPConnection(guarded.url.removeprefix("http://")) as connection:
                answer, body = connection.ask(method, path)
            if path.startswith("/page/"):  # a file of the page, by a name that none has
                assert answer.status in (404, 405), method
                continue
            assert answer.status == 401, method
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
            assert TOKEN.encode() not in body

    def test_refusal_says_how_to_send_it(self, guarded: Api) -> None:
        """Who sent none is told what to send."""
        answer = guarded.client.get("/api/status")
        assert (answer.status_code, answer.json()["code"]) == (401, "LR601")
        assert "Authorization: Bearer" in answer.json()["hint"]

    @pytest.mark.parametrize("path", ["/", "/page/app.js", "/livez", "/api/session", "/api/openapi.json"])
    def test_page_and_probes_do_not(self, guarded: Api, path: str) -> None:
        """The page itself, which must be able to ask for the token, and the probes need none."""
        assert guarded.client.get(path).status_code == 200

    def test_right_token_is_let_in(self, guarded: Api) -> None:
        """The token as a bearer opens the API."""
        assert guarded.client.get("/api/status", headers=bearer(TOKEN)).status_code == 200

    @pytest.mark.parametrize("header", ["Bearer wrong", f"Basic {TOKEN}", TOKEN, "Bearer", f"Bearer {TOKEN}x"])
    def test_anything_else_is_not(self, guarded: Api, header: str) -> None:
        """A wrong token, another scheme, a token without a scheme: 401."""
        assert guarded.client.get("/api/status", headers={"Authorization": header}).status_code == 401


class TestWithoutToken:
    def test_this_machine_may_do_everything(self, unguarded: Api) -> None:
        """With --no-token nobody is asked for one, and the page knows that."""
        assert unguarded.client.get("/api/status").status_code == 200
        assert unguarded.client.get("/api/session").json() == {"token_needed": False, "signed_in": True}
        assert unguarded.client.post("/api/session", json={"token": "any"}).status_code == 204

    def test_other_sites_and_names_may_not(self, unguarded: Api) -> None:
        """Other sites' pages still may not, under whatever name."""
        assert unguarded.client.get("/api/status", headers={"Host": "evil.example"}).status_code == 403
        headers = {"Origin": "https://evil.example", "If-Match": "*"}
        assert unguarded.client.put("/api/config", json={}, headers=headers).status_code == 403

    def test_no_token_is_not_an_empty_one(self) -> None:
        """An empty token, which anybody could send, guards nothing and is refused."""
        with pytest.raises(ValueError, match="empty"):
            AdminToken("")


class TestOrigin:
    @pytest.mark.parametrize(
        "host", ["evil.example", "evil.example:8484", "127.0.0.1.evil.example", "", "localhost.evil"]
    )
    def test_foreign_host_is_refused(self, local: Api, host: str) -> None:
        """A name that somebody's DNS points at loopback is not answered, not even with the page."""
        for path in ("/", "/api/status", "/livez"):
            answer = local.client.get(path, headers={"Host": host})
            assert (answer.status_code, answer.json()["where"]) == (403, "header Host")

    @pytest.mark.parametrize("host", ["localhost:8484", "127.0.0.1", "[::1]:8484", "LOCALHOST", "10.0.0.7:8484"])
    def test_own_names_are_not(self, local: Api, host: str) -> None:
        """Localhost is answered, whatever the port, and any address: it is DNS that a stranger can point at us."""
        assert local.client.get("/api/status", headers={"Host": host}).status_code == 200

    def test_named_host_is_answered(self, database: str) -> None:
        """A proxy's name is answered where LIVEROUTER_ALLOWED_HOSTS holds it, and no other."""
        policy = Policy(
            admin_token=AdminToken(None),
            login_limiter=LoginLimiter(),
            any_host=False,
            hosts=frozenset({"llm.example.org"}),
        )
        with Api(database, policy=policy) as api:
            assert api.client.get("/livez", headers={"Host": "llm.example.org"}).status_code == 200
            assert api.client.get("/livez", headers={"Host": "other.example.org"}).status_code == 403

    @pytest.mark.parametrize(
        "headers",
        [
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": "http://[::1"},
            {"Origin": "http://localhost:3000"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
        ],
    )
    def test_write_from_another_site_is_refused(self, local: Api, headers: dict[str, str]) -> None:
        """What another site's page makes a browser send is 403, before it is read."""
        answer = local.client.put(
            "/api/config", json={"settings": {"llm_model": "m"}}, headers=headers | {"If-Match": "*"}
        )
        assert (answer.status_code, answer.json()["code"]) == (403, "LR602")

    def test_stream_cannot_be_opened_from_another_site(self, local: Api) -> None:
        """Nor can another site open streams here, to use them up."""
        assert local.client.get("/api/events", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403

    def test_own_page_may_write(self, local: Api) -> None:
        """The page's own requests pass: here they get as far as the missing database."""
        headers = {"Origin": local.url, "Sec-Fetch-Site": "same-origin", "If-Match": "*"}
        assert local.client.put("/api/config", json={}, headers=headers).status_code == 503

    def test_no_other_site_is_invited(self, local: Api) -> None:
        """There is no CORS: a preflight gets no permission."""
        answer = local.client.options("/api/config", headers={"Origin": "https://evil.example"})
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]


class TestLimits:
    def test_large_body_is_refused(self, local: Api) -> None:
        """A body that is too long is 413, and whoever sends it gets to hear that."""
        answer = local.client.post("/api/check", content=b"x" * (MAX_BODY_BYTES + 1), headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (413, "LR604")

    def test_large_body_without_a_length_is_refused(self, local: Api) -> None:
        """So is one that does not say its length."""
        chunks = (b"x" * 65_536 for _ in range(1 + MAX_BODY_BYTES // 65_536))
        assert local.client.post("/api/check", content=chunks, headers=JSON).status_code == 413

    @pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
    def test_only_json_is_read(self, local: Api, kind: str) -> None:
        """What a form can send without a preflight is 415."""
        answer = local.client.post("/api/check", content=b"{}", headers={"Content-Type": kind})
        assert (answer.status_code, answer.json()["code"]) == (415, "LR605")

    @pytest.mark.parametrize("body", [b"{", b"\xff", b"", b"[1, 2"])
    def test_broken_json_is_refused(self, local: Api, body: bytes) -> None:
        """What is no JSON is refused in the same shape as everything else."""
        answer = local.client.post("/api/check", content=body, headers=JSON)
        assert answer.status_code in (400, 422)
        assert answer.json()["code"] == "LR603"


class TestAnswers:
    @pytest.mark.parametrize("path", ["/", "/api/status", "/api/nothing", "/nothing", "/page/nothing.js", "/livez"])
    def test_carry_the_security_headers(self, local: Api, path: str) -> None:
        """Every answer forbids framing, sniffing and foreign scripts."""
        headers = local.client.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert "server" not in headers

    def test_of_the_api_are_not_kept(self, local: Api) -> None:
        """No cache keeps an answer of the API."""
        assert local.client.get("/api/status").headers["Cache-Control"] == "no-store"

    @pytest.mark.parametrize(("method", "path", "status"), [("GET", "/api/nothing", 404), ("POST", "/api/config", 405)])
    def test_errors_are_problem_details(self, local: Api, method: str, path: str, status: int) -> None:
        """Errors that the framework finds have the shape of all others: RFC 9457 with code, where and hint."""
        answer = local.client.request(method, path, json={} if method == "POST" else None)
        said = answer.json()
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
        assert said["status"] == status
        assert {"type", "title", "detail", "code", "where", "hint", "problems"} <= set(said)

    def test_database_errors_say_what_to_do(self, local: Api) -> None:
        """Without its database the API answers 503 with the reason, at every route that needs one."""
        for path in ("/api/config", "/api/instances", "/api/revisions", "/api/problems", "/api/usage"):
            answer = local.client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (503, "LR203")
            assert answer.headers["Retry-After"]

    def test_page_is_asked_for_again_only_when_it_changed(self, local: Api) -> None:
        """A browser that has the page's files gets 304."""
        first = local.client.get("/page/app.js")
        assert first.headers["Content-Type"].startswith("text/javascript")
        again = local.client.get("/page/app.js", headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
