"""Nothing that liverouter writes, answers, stores or raises shows a secret: good ones, refused ones, echoed ones."""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import threading
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import pytest
from langchain_core.load import dumps

from liverouter import LiveRouter, LiveRouterError, NotReadyError
from liverouter.daemon.auth import AdminToken, LoginLimiter
from liverouter.daemon.request_guard import Policy
from liverouter.events import ConfigRejected, Event, ReadFailed, SnapshotFileWritten
from liverouter.postgres import migrate
from liverouter.secrecy.sealing import Keyring, Secret, fingerprint, generate_key, seal
from liverouter.testing import EventLog
from tests.kit import patience
from tests.kit.http import Api
from tests.kit.leaks import LEDGER, Ledger
from tests.kit.postgres.emptied import one_database
from tests.kit.sql import put, put_secret, refused, revision, value
from tests.kit.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import psycopg

    from liverouter.chat.model import LiveChatModel

    Session = psycopg.Connection[Any]

emptied, dsn, db = one_database()

patient = patience.patient

NAMES: Final = (
    "primary",
    "fallback",
    "environment",
    "damaged",
    "refused",
    "foreign",
    "redis",
    "login",
    "token",
    "typo",
)


def made_up(prefix: str = "") -> str:
    """Return a secret that looks like nothing, so that no pattern finds it."""
    return prefix + secrets.token_urlsafe(24).replace("-", "x").replace("_", "y")


class Echo:
    """A provider that refuses every key and repeats all that it was sent: headers, path and body."""

    def __enter__(self) -> str:
        heard = self.heard = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                key = (self.headers["authorization"] or self.headers["x-api-key"]).removeprefix("Bearer ")
                said = f"Incorrect API key provided: {key}. Heard {self.headers} {self.path} {body}"
                heard.append(said)
                answer = json.dumps({"error": {"message": said, "type": "auth", "code": "invalid_api_key"}}).encode()
                self.send_response(401, key)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,)).start()
        return f"http://127.0.0.1:{self._server.server_port}"

    heard: list[str]

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def hidden() -> dict[str, str]:
    """One secret per purpose; from here on all texts are searched for all of them."""
    found = {name: made_up() for name in NAMES}
    found["refused"] = f"sk-{found['refused']}"  # the database must know it for a key
    found["ring"], found["other ring"] = generate_key(), generate_key()
    LEDGER.hide(*found.values(), *(base64.b64encode(s.encode()).decode() for s in found.values()))
    return found


@pytest.fixture
def echo() -> Echo:
    """The provider, not yet started."""
    return Echo()


@pytest.fixture
def url(login: Callable[..., str], hidden: dict[str, str]) -> str:
    """The DSN of a login with all our roles, whose password is hidden."""
    made = login("liverouter_client", "liverouter_writer", "liverouter_inspector")
    hidden["login"] = str(urlsplit(made).password)
    LEDGER.hide(hidden["login"])
    return made


def told_error(where: str, error: BaseException) -> str:
    """Search all that is to be seen of *error* and return its text."""
    chain = "".join(traceback.format_exception(error))
    LEDGER.tell(where, f"{error!r} {error} {chain} {getattr(error, 'message', '')} {error.args!r}")
    return str(error)


def call_in_every_way(where: str, model: LiveChatModel, expected: str) -> None:
    """Call *model*, which must fail with *expected* in its error, and search what is raised."""
    for name, call in (("invoke", lambda: model.invoke("hi")), ("stream", lambda: list(model.stream("hi")))):
        with pytest.raises(Exception, match=expected) as caught:
            call()
        told_error(f"{where} {name}", caught.value)


class TestNothingTellsASecret:
    def test_command_line(  # noqa: PLR0917 - fixtures
        self, echo: Echo, hidden: dict[str, str], url: str, shell: Any, dsn: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Every command, with good secrets, refused ones, a wrong password and a provider that repeats its key."""
        monkeypatch.setenv("LIVEROUTER_SECRET_KEYS", f"{hidden['ring']},{hidden['other ring']}")
        monkeypatch.setenv("LIVEROUTER_DATABASE_URL", url)
        monkeypatch.setenv("AZURE_OPENAI_API_KEY", hidden["environment"])
        fallback = {"provider": "anthropic", "model": "claude-sonnet-4-6"}
        plain = fallback | {"api_key": hidden["refused"]}

        def cli(*arguments: str, code: int = 0, stdin: str = "") -> None:
            result = shell(*arguments, stdin=stdin)
            LEDGER.tell(f"liverouter {' '.join(arguments[:2])}", result.out + result.err)
            LEDGER.tell_database(dsn)
            assert result.code == code, f"{arguments[0]}: {result.out}{result.err}"

        with echo as base:
            cli("set", "llm_provider=openai", "llm_model=gpt-4o", f"openai_api_base={base}/v1")
            cli("set", f"llm_fallback_config={json.dumps(fallback)}", f"anthropic_api_base={base}")
            cli("set", "--secret", "openai_api_key", stdin=hidden["primary"])
            cli("set", "--secret", "anthropic_api_key", stdin=hidden["fallback"])
            cli("set", f"openai_api_key={hidden['refused']}", "-v", code=1)
            cli("set", f"llm_fallback_config={json.dumps(plain)}", "-v", code=1)
            cli("set", f"llm_model={hidden['refused']}", "-v", code=1)
            cli("check", "--live", code=1)
            cli("check", "--live", "--json", "-v", code=1)
            assert any(hidden["primary"] in said for said in echo.heard)
            assert any(hidden["fallback"] in said for said in echo.heard)
        for command in ("show", "show --settings", "show --json", "history", "diff 0 4", "instances"):
            cli(*command.split())
        cli("keys", "rotate", "--database-url", dsn)  # covers the history, which is the owner's
        for command in ("keys status", "rollback 3", "unset openai_api_key", "migrate --check"):
            cli(*command.split())
        wrong = url.replace(hidden["login"], hidden["typo"])
        for command in ("show", "migrate --check", "keys status", "set llm_model=m"):
            cli(*command.split(), "-v", "--database-url", wrong, code=1)
        monkeypatch.setenv("LIVEROUTER_SECRET_KEYS", hidden["typo"])
        cli("keys", "rotate", "-v", code=78)

    def test_client(self, echo: Echo, hidden: dict[str, str], url: str, db: Session, tmp_path: Path) -> None:
        """A process that serves, is refused by its providers, rejects what does not open, and keeps a snapshot file."""
        ring = Keyring.from_text(hidden["ring"])

        def store(name: str, secret: str, key: Keyring = ring) -> int:
            return put_secret(db, name, fingerprint(Secret(secret)), seal(name, Secret(secret), key))

        listener = db.execute(b"LISTEN liverouter").connection
        file, events = tmp_path / "snapshot", EventLog()
        redis = f"redis://:{hidden['redis']}@127.0.0.1:1/0"
        with (
            echo as base,
            LiveRouter(
                database_url=url,
                secret_keys=hidden["ring"],
                snapshot_file=str(file),
                redis_url=redis,
                observers=(events,),
            ) as live,
        ):
            store("openai_api_key", hidden["primary"])
            store("anthropic_api_key", hidden["fallback"])
            rows = {"openai_api_base": f"{base}/v1", "anthropic_api_base": base, "litellm_num_retries": 0}
            fallback = {"provider": "anthropic", "model": "claude-sonnet-4-6"}
            good = put(db, llm_provider="openai", llm_model="gpt-4o", llm_fallback_config=fallback, **rows)
            assert live.wait_applied(good, 60).revision == good
            model = live.chat_model()
            call_in_every_way("failover", model, "every deployment failed")
            good = put(db, litellm_enable=False)
            assert live.wait_applied(good, 60).revision == good
            call_in_every_way("plain", model, "Incorrect API key")
            assert {name for name in ("primary", "fallback") for said in echo.heard if hidden[name] in said} == {
                "primary",
                "fallback",
            }

            foreign = store("openai_api_key", hidden["foreign"], Keyring.from_text(hidden["other ring"]))
            assert events.wait_for(ConfigRejected, revision=foreign, timeout_s=60).problems
            damaged = json.dumps({"type": "service_account", "private_key": hidden["damaged"]})
            store("openai_api_key", hidden["primary"])
            store("vertex_ai_credentials", damaged)
            bad = put(db, llm_provider="vertex-ai", llm_model="gemini-2.5-pro", vertex_ai_project_id="p")
            assert events.wait_for(ConfigRejected, revision=bad, timeout_s=60).problems
            with refused("23514") as refusal:
                put(db, llm_fallback_config=fallback | {"api_key": hidden["refused"]})
            LEDGER.tell("a refused statement", refusal.everything)
            events.wait_for(SnapshotFileWritten, revision=good, timeout_s=60)

            generation = live.current
            assert generation is not None
            seen = (live, live.status(), model, model.pinned(), generation, generation.snapshot, events.of(Event), ring)
            LEDGER.tell("reprs", f"{seen!r} {[str(thing) for thing in seen]} {dumps(model)}")
            LEDGER.tell("snapshot file", file.read_text())
            until(lambda: value(db, "SELECT count(*) FROM liverouter.problems WHERE code = 'LR403'"))  # it has reported
            LEDGER.tell_database(db.info.dsn + f" password={db.info.password}")
        payloads = [note.payload for note in listener.notifies(timeout=0)]
        assert payloads
        assert all(payload.isdecimal() and int(payload) <= revision(db) for payload in payloads)

    def test_database_that_refuses(self, hidden: dict[str, str], url: str) -> None:
        """A password that is wrong stands in no event, no error and no cause of one."""
        wrong, events = url.replace(hidden["login"], hidden["typo"]), EventLog()
        with LiveRouter(database_url=wrong, ready_timeout_s=0.5, observers=(events,)) as live:
            with pytest.raises(NotReadyError) as caught:
                live.wait_ready()
            told_error("not ready", caught.value)
            LEDGER.tell("reprs", f"{live!r} {live.status()!r}")
            events.wait_for(ReadFailed, timeout_s=60)
        for attempt in (migrate.current, migrate.check, migrate.upgrade):
            with pytest.raises(LiveRouterError) as failed:
                attempt(wrong)
            told_error(attempt.__name__, failed.value)

    def test_api(self, echo: Echo, hidden: dict[str, str], url: str, dsn: str) -> None:
        """Every path of the API, with secrets where they belong and where they do not."""
        policy = Policy(admin_token=AdminToken(hidden["token"]), login_limiter=LoginLimiter(), any_host=False)
        settings: dict[str, Any] = {"llm_provider": "openai", "llm_model": "gpt-4o", "litellm_num_retries": 0}
        entry = {"provider": "openai", "model": "m", "api_key": hidden["refused"]}
        with echo as base, Api(url, secret_keys=hidden["ring"], policy=policy) as api:
            assert api.put(settings=settings).status_code == 401
            api.client.post("/api/session", json={"token": hidden["typo"]})
            api.client.headers["Authorization"] = f"Bearer {hidden['token']}"
            settings["openai_api_base"] = f"{base}/v1"
            api.save(settings=settings, secrets={"openai_api_key": hidden["primary"]}, comment="first")
            api.save(settings={"llm_temperature": 0.5}, secrets={"openai_api_key": hidden["fallback"]})
            wrong: list[dict[str, Any]] = [
                {"settings": {"openai_api_key": hidden["refused"]}},
                {"settings": {"llm_model": hidden["refused"]}},
                {"settings": {"llm_fallback_config": entry}},
                {"secrets": {"openai_api_key": [hidden["refused"]]}},
                {"secrets": hidden["refused"]},
                {hidden["refused"]: {}},
            ]
            answers = [api.put(**body) for body in wrong]
            wrong.remove({"settings": {"llm_model": hidden["refused"]}})  # a dry run names what it was given
            answers += [api.client.post("/api/check", json=body) for body in wrong]
            answers.append(api.client.put("/api/config", content=f'{{"secrets": {{"a": "{hidden["refused"]}"'))
            assert not any(answer.is_server_error for answer in answers)
            checked = api.post("/api/check", live=True, secrets={"openai_api_key": hidden["foreign"]})
            assert checked["ok"] is False
            assert api.client.post("/api/try", json={"prompt": "hi"}).status_code == 502
            for name in ("fallback", "foreign"):
                assert any(hidden[name] in said for said in echo.heard)
            config, fleet = "config providers models revisions diff?a=0&b=2", "status instances serving rollout/2"
            for path in f"{config} {fleet} problems usage openapi.json".split():
                assert api.client.get(f"/api/{path}").status_code == 200, path
            for path in ("", "livez", "readyz", "metrics"):
                assert api.client.get(f"/{path}").status_code in (200, 503), path
            with api.events() as stream:
                LEDGER.tell("/api/events", str(next(stream)))
            assert api.post("/api/rollback", revision=1)["revision"] == 3
            LEDGER.tell_database(dsn)


class TestLedger:
    def test_a_secret_in_a_text_is_found_and_not_repeated(self) -> None:
        """What searches for leaks finds them, wherever they stand."""
        ledger, secret = Ledger(), made_up()
        ledger.hide(secret, "short")
        ledger.tell("fine", f"a short text without it: {secret[:-1]}")
        assert ledger.leaks() == []
        ledger.tell("log", f"key={secret}.")
        assert ledger.leaks() == ["log: …key=<SECRET>.…"]

    def test_secret_in_view_and_statement_is_found(self, dsn: str, db: Session) -> None:
        """The database is searched: what its views show and what its sessions ran."""
        ledger, secret = Ledger(), made_up()
        ledger.hide(secret)
        put(db, llm_model="m")
        ledger.tell_database(dsn)
        assert ledger.leaks() == []
        with contextlib.closing(db.cursor()) as cursor:
            cursor.execute(f"SELECT '{secret}'".encode())
        ledger.tell_database(dsn)
        assert "SELECT '<SECRET>'" in str(ledger.leaks())
        put(db, llm_model=secret)
        ledger.tell_database(dsn)
        assert ",primary,1,,<SECRET>," in str(ledger.leaks())  # view desired_config
