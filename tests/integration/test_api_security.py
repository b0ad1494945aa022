"""Who may use the API, from where, with what: tokens, sessions, hosts, origins, limits, headers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest

from liverouter.daemon.auth import TRIES, Gate, Tries
from liverouter.daemon.shield import MAX_BODY_BYTES, Policy
from liverouter.sealing import generate_key
from tests.api import Api

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
    """The API on loopback without a token."""
    with Api(database) as api:
        yield api


def bearer(token: str) -> dict[str, str]:
    """Return the header that sends *token*."""
    return {"Authorization": f"Bearer {token}"}


class TestToken:
    @pytest.mark.parametrize(
        "path", ["/api/status", "/api/config", "/api/events", "/api/try", "/metrics", "/api/nothing"]
    )
    def test_everything_but_the_probes_wants_it(self, guarded: Api, path: str) -> None:
        """Without the token the answer is 401 and says how to send it, whether the path exists or not."""
        answer = guarded.client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (401, "LR601")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert TOKEN not in answer.text

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

    def test_guessing_is_slowed_down(self, database: str) -> None:
        """After so many wrong tokens an address must wait, even with the right one, at both doors."""
        with Api(database, token=TOKEN) as api:
            for number in range(TRIES):
                headers = bearer(f"guess {number}") | {"X-Forwarded-For": f"192.0.2.{number}"}  # anybody can write that
                assert api.client.get("/api/status", headers=headers).status_code == 401
            answer = api.client.get("/api/status", headers=bearer(TOKEN))
            assert (answer.status_code, answer.json()["code"]) == (429, "LR606")
            assert int(answer.headers["Retry-After"]) > 0
            assert api.client.post("/api/session", json={"token": TOKEN}).status_code == 429


class TestRoles:
    def test_three_roles_are_all_that_the_daemon_needs(self, login: Callable[..., str]) -> None:
        """A login with client, writer and inspector serves the whole page: read, saved, taken back, watched."""
        with Api(
            login("liverouter_client", "liverouter_writer", "liverouter_inspector"), secret_keys=generate_key()
        ) as api:
            rows = {"llm_provider": "openai", "llm_model": "gpt-4o"}
            assert api.save(settings=rows, secrets={"openai_api_key": "sk-test-0123456789abcdef"}) == 1
            assert api.save(settings={"llm_model": "gpt-4.1"}) == 2
            assert api.post("/api/rollback", revision=1)["revision"] == 3
            assert api.get("/api/config")["settings"] == rows
            assert [row["revision"] for row in api.get("/api/revisions")] == [3, 2, 1, 0]
            for path in ("/api/instances", "/api/serving", "/api/problems", "/api/usage", "/api/rollout/3"):
                assert api.client.get(path).status_code == 200, path
            assert "liverouter_database_up 1.0" in api.client.get("/metrics").text


class TestSession:
    def test_token_buys_a_cookie(self, guarded: Api) -> None:
        """Signing in sets a cookie that scripts and other sites cannot use; it opens the API until one signs out."""
        with httpx.Client(base_url=guarded.url) as browser:
            assert browser.get("/api/session").json() == {"token_needed": True, "signed_in": False}
            answer = browser.post("/api/session", json={"token": TOKEN})
            assert answer.status_code == 204
            cookie = answer.headers["Set-Cookie"].lower()
            assert "httponly" in cookie
            assert "samesite=strict" in cookie
            assert TOKEN not in cookie
            assert browser.get("/api/session").json() == {"token_needed": True, "signed_in": True}
            assert browser.get("/api/status").status_code == 200
            assert browser.delete("/api/session").status_code == 204
            assert browser.get("/api/status").status_code == 401

    def test_wrong_token_buys_none(self, guarded: Api) -> None:
        """A wrong token is 401 and sets nothing."""
        answer = guarded.client.post("/api/session", json={"token": "wrong"})
        assert answer.status_code == 401
        assert "Set-Cookie" not in answer.headers

    @pytest.mark.parametrize("value", ["", "x", "9999999999.nonce.forged", "....", "9999999999.nonce."])
    def test_forged_cookie_is_refused(self, guarded: Api, value: str) -> None:
        """A cookie that was not signed with the token opens nothing."""
        headers = {"Cookie": f"liverouter_session={value}"}
        assert httpx.get(f"{guarded.url}/api/status", headers=headers).status_code == 401

    @pytest.mark.parametrize("others", ['prefs={"a":1}; {}', "a=b c; {}", "=; {}; ;", "a[]=1;{}", '{}; quoted="x;y"'])
    def test_cookies_of_others_do_not_matter(self, others: str) -> None:
        """Cookies of one host are everybody's on it, whatever port and spelling: ours is found among them."""
        gate = Gate(TOKEN)
        assert gate.knows(others.replace("{}", f"liverouter_session={gate.new_session()}"))

    def test_address_is_believed_where_the_proxy_is_named(self, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Behind a proxy that FORWARDED_ALLOW_IPS names, each visitor counts, and a session is for https only."""
        monkeypatch.setenv("FORWARDED_ALLOW_IPS", "127.0.0.1")
        with Api(database, token=TOKEN) as api:
            for number in range(TRIES + 1):
                headers = bearer(f"guess {number}") | {"X-Forwarded-For": f"192.0.2.{number}"}
                assert api.client.get("/api/status", headers=headers).status_code == 401
            answer = api.client.post("/api/session", json={"token": TOKEN}, headers={"X-Forwarded-Proto": "https"})
            assert "secure" in answer.headers["Set-Cookie"].lower()

    def test_session_ends_by_itself(self) -> None:
        """A session holds until its expiry, and no longer."""
        now = [1_000_000.0]
        gate = Gate(TOKEN, clock=lambda: now[0])
        cookie = f"liverouter_session={gate.new_session()}"
        now[0] += 12 * 3600 - 1
        assert gate.knows(cookie)
        now[0] += 2
        assert not gate.knows(cookie)

    def test_new_token_ends_all_sessions(self) -> None:
        """Sessions bought with another token are worth nothing."""
        assert not Gate("another").knows(f"liverouter_session={Gate(TOKEN).new_session()}")

    def test_waiting_ends_by_itself(self) -> None:
        """Wrong tries are forgotten after a minute, one by one."""
        now = [0.0]
        tries = Tries(clock=lambda: now[0])
        for _ in range(TRIES):
            tries.add_failure("192.0.2.1")
            now[0] += 1
        assert tries.wait_s("192.0.2.1") == 60 - TRIES
        assert tries.wait_s("192.0.2.2") == 0
        now[0] = 60.5
        assert tries.wait_s("192.0.2.1") == 0


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
        policy = Policy(gate=Gate(""), tries=Tries(), any_host=False, hosts=frozenset({"llm.example.org"}))
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
