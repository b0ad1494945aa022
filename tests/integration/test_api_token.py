"""The admin token and what it buys: who is let in, who is refused, when a session ends, what is a token at all."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest

from liverouter import OptionsError
from liverouter.daemon.auth import MAX_FAILURES, AdminToken, LoginLimiter, admin_token, kept_token
from liverouter.daemon.sse import Hub
from tests.kit.http import PATIENCE_S, Api

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOKEN: Final = "a-long-random-admin-token-0123456789"


@pytest.fixture(scope="module")
def database(server: Any) -> str:
    """A database that is not there: nothing in here needs one."""
    return str(server.dsn("liverouter_no_such_database"))


@pytest.fixture(scope="module")
def guarded(database: str) -> Iterator[Api]:
    """The API with a token that its client does not send."""
    with Api(database, token=TOKEN) as api:
        yield api


def bearer(token: str) -> dict[str, str]:
    """Return the header that sends *token*."""
    return {"Authorization": f"Bearer {token}"}


def sign_in(api: Api) -> dict[str, str]:
    """Return the header of a browser that signed in."""
    answer = httpx.post(f"{api.url}/api/session", json={"token": TOKEN}, timeout=PATIENCE_S)
    assert answer.status_code == 204
    return {"Cookie": answer.headers["Set-Cookie"].partition(";")[0]}


def ask(api: Api, method: str, path: str, headers: dict[str, str]) -> httpx.Response:
    """Return what one who connects anew is answered."""
    with api.browser() as browser:
        return browser.request(method, path, headers=headers)


class TestGuessing:
    def test_right_token_is_never_locked_out(self, database: str) -> None:
        """However many wrong ones came from an address, which many may share, the right one is let in, at each door."""
        with Api(database, token=TOKEN) as api:
            for number in range(MAX_FAILURES):
                headers = bearer(f"guess {number}") | {"X-Forwarded-For": f"192.0.2.{number}"}  # anybody can write that
                assert api.client.get("/api/status", headers=headers).status_code == 401
            for attempt in (
                api.client.get("/api/status", headers=bearer("guess")),
                api.client.post("/api/session", json={"token": "guess"}),
            ):
                assert (attempt.status_code, attempt.json()["code"]) == (429, "LR606")
                assert int(attempt.headers["Retry-After"]) > 0
            assert api.client.get("/api/status", headers=bearer(TOKEN)).status_code == 200
            assert api.client.post("/api/session", json={"token": TOKEN}).status_code == 204

    def test_address_is_believed_where_the_proxy_is_named(self, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Behind a proxy that FORWARDED_ALLOW_IPS names, each visitor counts, and a session is for https only."""
        monkeypatch.setenv("FORWARDED_ALLOW_IPS", "127.0.0.1")
        with Api(database, token=TOKEN) as api:
            for number in range(MAX_FAILURES + 1):
                headers = bearer(f"guess {number}") | {"X-Forwarded-For": f"192.0.2.{number}"}
                assert api.client.get("/api/status", headers=headers).status_code == 401
            answer = api.client.post("/api/session", json={"token": TOKEN}, headers={"X-Forwarded-Proto": "https"})
            assert "secure" in answer.headers["Set-Cookie"].lower()

    def test_waiting_ends_by_itself(self) -> None:
        """Wrong tries are forgotten after a minute, one by one."""
        now = [0.0]
        limiter = LoginLimiter(clock=lambda: now[0])
        for _ in range(MAX_FAILURES):
            limiter.add_failure("192.0.2.1")
            now[0] += 1
        assert limiter.wait_s("192.0.2.1") == 60 - MAX_FAILURES
        assert limiter.wait_s("192.0.2.2") == 0
        now[0] = 60.5
        assert limiter.wait_s("192.0.2.1") == 0

    @pytest.mark.parametrize(
        ("one", "other", "same"),
        [
            ("2001:db8::1", "2001:db8::ffff:2", True),
            ("2001:db8::1", "2001:db8:0:1::1", False),
            ("::ffff:192.0.2.1", "192.0.2.1", True),
            ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
            ("192.0.2.1", "192.0.2.2", False),
            ("fe80::1%eth0", "fe80::1%eth1", True),
        ],
    )
    def test_visitor_is_an_address_or_its_network(self, one: str, other: str, *, same: bool) -> None:
        """IPv4 counts by address, also where IPv6 carries it; IPv6 by the /64 that one visitor has."""
        limiter = LoginLimiter(clock=lambda: 0.0)
        for _ in range(MAX_FAILURES):
            limiter.add_failure(one)
        assert limiter.wait_s(one) > 0
        assert (limiter.wait_s(other) > 0) is same

    def test_flood_of_addresses_makes_nobody_forgotten(self) -> None:
        """LoginLimiter from ever new addresses take no more memory, and wash no count away."""
        limiter = LoginLimiter(clock=lambda: 0.0)
        for _ in range(MAX_FAILURES):
            limiter.add_failure("192.0.2.1")
        for number in range(10_100):
            limiter.add_failure(f"2001:db8:{number:x}::1")
        assert limiter.wait_s("192.0.2.1") > 0
        assert limiter.wait_s("198.51.100.1") > 0  # one of too many
        assert len(vars(limiter)["_failures"]) <= 10_001

    @pytest.mark.parametrize("sent", [b"\xff" * 40, b"x" * 15_000, "ünïcödé-tökén".encode(), b"?"])
    def test_odd_tokens_are_wrong_ones(self, guarded: Api, sent: bytes) -> None:
        """Whatever bytes are sent as a token, the answer is a refusal."""
        with guarded.browser() as client:
            answer = client.get("/api/status", headers={b"Authorization": b"Bearer " + sent})
        assert answer.status_code in (401, 429)


class TestSession:
    def test_token_buys_a_cookie(self, guarded: Api) -> None:
        """Signing in sets a cookie that scripts and other sites cannot use; it opens the API until one signs out."""
        with guarded.browser() as browser:
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
        assert ask(guarded, "GET", "/api/status", headers).status_code == 401

    @pytest.mark.parametrize("others", ['prefs={"a":1}; {}', "a=b c; {}", "=; {}; ;", "a[]=1;{}", '{}; quoted="x;y"'])
    def test_cookies_of_others_do_not_matter(self, others: str) -> None:
        """Cookies of one host are everybody's on it, whatever port and spelling: ours is found among them."""
        sessions = AdminToken(TOKEN)
        assert sessions.knows(others.replace("{}", f"liverouter_session={sessions.new_session()}"))

    def test_session_ends_by_itself(self) -> None:
        """A session holds until its expiry, and no longer."""
        now = [1_000_000.0]
        sessions = AdminToken(TOKEN, clock=lambda: now[0])
        cookie = f"liverouter_session={sessions.new_session()}"
        now[0] += 12 * 3600 - 1
        assert sessions.knows(cookie)
        now[0] += 2
        assert not sessions.knows(cookie)

    def test_new_token_ends_all_sessions(self) -> None:
        """Sessions bought with another token are worth nothing."""
        assert not AdminToken("another").knows(f"liverouter_session={AdminToken(TOKEN).new_session()}")

    def test_no_copy_outlives_signing_out(self, guarded: Api) -> None:
        """Signing out ends the session at the server, for every copy of its cookie, and no other session."""
        first, other = sign_in(guarded), sign_in(guarded)
        assert ask(guarded, "DELETE", "/api/session", first).status_code == 204
        assert ask(guarded, "GET", "/api/status", first).status_code == 401
        assert ask(guarded, "GET", "/api/session", first).json()["signed_in"] is False
        assert ask(guarded, "GET", "/api/status", other).status_code == 200

    def test_nobody_is_signed_out_by_others(self, guarded: Api) -> None:
        """Another site's page, or who holds no cookie, ends nobody's session."""
        held = sign_in(guarded)
        for headers in (held | {"Origin": "https://evil.example"}, held | {"Sec-Fetch-Site": "cross-site"}):
            assert ask(guarded, "DELETE", "/api/session", headers).status_code == 403
        assert ask(guarded, "DELETE", "/api/session", {}).status_code == 204
        assert ask(guarded, "DELETE", "/api/session", bearer(TOKEN)).status_code == 204
        assert ask(guarded, "GET", "/api/status", held).status_code == 200

    async def test_stream_ends_with_its_session(self) -> None:
        """A stream tells nothing more, not even that it is there, once its session has ended."""
        sessions, hub = AdminToken(TOKEN), Hub()
        cookie = f"liverouter_session={sessions.new_session()}"

        async def first() -> bytes:
            return b"hello"

        stream = aiter(hub.stream(first, may_hear=lambda: sessions.knows(cookie)))
        assert (await anext(stream)).startswith(b"retry: ")
        assert await anext(stream) == b"hello"
        hub.publish("event", {"number": 1})
        assert b"number" in await anext(stream)
        sessions.end_session(cookie)
        hub.publish("event", {"number": 2})
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        assert hub.streams == 0

    def test_stream_of_a_signed_out_browser_ends(self, guarded: Api) -> None:
        """The API's stream is such a one."""
        held = sign_in(guarded)
        with httpx.stream("GET", f"{guarded.url}/api/events", headers=held, timeout=PATIENCE_S) as stream:
            lines = stream.iter_lines()
            while not next(lines).startswith("event: hello"):
                pass
            assert ask(guarded, "DELETE", "/api/session", held).status_code == 204
            guarded.publish("event", {"name": "later"})
            assert "later" not in "".join(lines)

    def test_cookie_of_another_port_hides_none(self, guarded: Api) -> None:
        """Cookies are one host's: one of ours is found, though another port set some of the same name around it."""
        (cookie,) = sign_in(guarded).values()
        headers = {"Cookie": f"liverouter_session=planted; {cookie}; liverouter_session=planted"}
        assert ask(guarded, "GET", "/api/status", headers).status_code == 200

    def test_sessions_are_bounded(self) -> None:
        """Of too many sessions the oldest end."""
        sessions = AdminToken(TOKEN)
        cookies = [f"liverouter_session={sessions.new_session()}" for _ in range(1001)]
        assert [sessions.knows(cookies[n]) for n in (0, 1, 1000)] == [False, True, True]


class TestWhatIsAToken:
    @pytest.mark.parametrize(
        "token",
        [
            "pass1234",
            "x" * 15,
            "sixteen chars ok",
            "two words that are long",
            "für-keine-Kopfzeile-gut",
            "a" * 1001,
        ],
    )
    @pytest.mark.parametrize("by_file", [False, True])
    def test_what_can_be_guessed_or_not_be_sent_is_refused(self, tmp_path: Path, token: str, *, by_file: bool) -> None:
        """Under 16 characters, or not what a header carries: an error that names the option, and not the token."""
        name = "LIVEROUTER_ADMIN_TOKEN_FILE" if by_file else "LIVEROUTER_ADMIN_TOKEN"
        (tmp_path / "token").write_text(f"{token}\n", encoding="utf-8")
        with pytest.raises(OptionsError) as refused:
            admin_token({name: str(tmp_path / "token") if by_file else token})
        assert refused.value.where == name
        assert "token_urlsafe" in refused.value.hint
        assert token not in str(refused.value)

    def test_sixteen_characters_are_enough(self) -> None:
        """The shortest token is one of 16 characters; space around it is not part of it."""
        assert admin_token({"LIVEROUTER_ADMIN_TOKEN": f" {'x' * 16}\n"}) == "x" * 16
        assert admin_token({}) is None
        assert admin_token({"LIVEROUTER_ADMIN_TOKEN": "  "}) is None


class TestKeptToken:
    def test_is_made_once_for_one_user(self, tmp_path: Path) -> None:
        """The made token is long, stays the same, and only its user can read it."""
        path = tmp_path / "new" / "data" / "admin-token"
        token = kept_token(path)
        assert len(token) >= 43
        assert kept_token(path) == token
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) & 0o066 == 0
        assert [p.name for p in path.parent.iterdir()] == ["admin-token"]

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602])
    def test_file_that_others_can_use_is_refused(self, tmp_path: Path, mode: int) -> None:
        """A file that others can read or write is not believed, nor shown."""
        path = tmp_path / "admin-token"
        token = kept_token(path)
        path.chmod(mode)
        with pytest.raises(OptionsError, match="others") as refused:
            kept_token(path)
        assert refused.value.where == str(path)
        assert token not in str(refused.value)

    def test_file_of_another_user_is_refused(self, tmp_path: Path) -> None:
        """A file that belongs to somebody else is not believed."""
        if os.geteuid() != 0:
            pytest.skip("needs root")
        path = tmp_path / "admin-token"
        kept_token(path)
        os.chown(path, 65534, 65534)
        with pytest.raises(OptionsError, match="another user"):
            kept_token(path)

    @pytest.mark.parametrize("exists", [True, False])
    def test_link_is_refused(self, tmp_path: Path, *, exists: bool) -> None:
        """A link, wherever it leads, is not followed, neither to read nor to write."""
        target, path = tmp_path / "target", tmp_path / "admin-token"
        if exists:
            kept_token(target)
        path.symlink_to(target)
        with pytest.raises(OptionsError, match="link"):
            kept_token(path)
        assert target.exists() is exists

    def test_pipe_is_refused(self, tmp_path: Path) -> None:
        """A pipe is not waited for."""
        os.mkfifo(tmp_path / "admin-token", 0o600)
        with pytest.raises(OptionsError, match="no file"):
            kept_token(tmp_path / "admin-token")

    def test_cut_off_file_is_refused(self, tmp_path: Path) -> None:
        """An empty or short file guards nothing."""
        path = tmp_path / "admin-token"
        path.touch(0o600)
        with pytest.raises(OptionsError, match="shorter than 16"):
            kept_token(path)

    def test_folder_that_cannot_be_made_names_the_variable(self, tmp_path: Path) -> None:
        """Where nothing can be kept, the error says how to give a token."""
        (tmp_path / "file").touch()
        with pytest.raises(OptionsError) as refused:
            kept_token(tmp_path / "file" / "data" / "admin-token")
        assert refused.value.where == "LIVEROUTER_ADMIN_TOKEN"
        assert "--data-dir" in refused.value.hint
