"""Alerts: each error of `problems` is posted once by the whole fleet, and so is its end."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack, closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from liverouter import LiveRouter
from liverouter.engine import alerts
from liverouter.events import AlertFailed, AlertSent, ConfigApplied
from liverouter.secrecy.sealing import generate_key
from liverouter.testing import EventLog, Failure, MemoryRouter
from tests.kit.admin import Admin
from tests.kit.http import Api
from tests.kit.leaks import LEDGER
from tests.kit.ports import ClosedPort
from tests.kit.receiver import Receiver, seal_webhook
from tests.kit.sql import Process, put, rows, stop_clock, value
from tests.kit.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import psycopg

    from liverouter.testing import StandIn

    Session = psycopg.Connection[Any]

OVER: Final = """
    INSERT INTO liverouter.alerts (code, object, message, hint, stands, changed_at, told, times)
    VALUES ('LR320', 'long ago', 'it failed', '', false, now() - interval '1 day', true, 1)
"""
PATH: Final = "/services/T0000/B0000/a-path-that-nobody-may-know"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Where alerts go."""
    with Receiver() as made:
        yield made


@pytest.fixture
def admin(dsn: str, openai: StandIn, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Iterator[Admin]:
    """An admin of a database with a provider and a sealed webhook; clients look often."""
    key = generate_key()
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    monkeypatch.setenv("LIVEROUTER_SECRET_KEYS", key)
    monkeypatch.setattr(alerts, "_EVERY_S", 0.02)
    monkeypatch.setattr(alerts, "_TIMEOUT_S", 60.0)  # else a busy machine may send again what has arrived
    LEDGER.hide(PATH)
    admin = Admin(dsn)
    seal_webhook(admin.connection, receiver.url + PATH, key)
    admin.set(
        llm_provider="openai",
        llm_model="gpt-4o",
        openai_api_base=openai.base_url,
        litellm_enable=False,
    )
    yield admin
    admin.close()


def told(admin: Admin) -> str:
    """Return why the last try to tell failed; "" where none did."""
    return admin.ask("SELECT error FROM liverouter.alert_turn")[0] or ""


def hurry(db: Session) -> bool:
    """Let the time pass that somebody who looks, tries again or waits for an end has to wait; return True."""
    db.execute(b"UPDATE liverouter.alerts SET changed_at = changed_at - interval '17 minutes'")
    db.execute(b"UPDATE liverouter.alert_turn SET next_at = '-infinity' WHERE ticket IS NULL")
    return True


class TestClients:
    def test_error_is_told_once_by_a_fleet_and_so_is_its_end(
        self, dsn: str, admin: Admin, openai: StandIn, receiver: Receiver, wait_until: Callable[..., None]
    ) -> None:
        """Three clients see it, one posts; no cookie, no credential; the log says where to, but for the path."""
        events = EventLog()
        with ExitStack() as stack:
            clients = [stack.enter_context(LiveRouter(database_url=dsn, observers=(events,))) for _ in range(3)]
            events.wait_for(ConfigApplied, count=3)
            openai.fail(Failure.UNAUTHORIZED)
            for live in clients:
                with pytest.raises(Exception, match="401"):
                    live.chat_model().invoke("hi")

            wait_until(lambda: hurry(admin.connection) and sum(event.gained for event in events.of(AlertSent)) == 2)
            failing = "SELECT 1 FROM liverouter.problems WHERE code = 'LR320' AND message LIKE '%3 of 3 processes%'"
            wait_until(lambda: admin.ask(failing))  # nobody tells of it when it is over for the others
            openai.heal()
            for live in clients:
                live.chat_model().invoke("hi")
            wait_until(lambda: hurry(admin.connection) and sum(event.lost for event in events.of(AlertSent)) == 2)
        told = [(kind, item["code"]) for kind in ("gained", "lost") for post in receiver.posts for item in post[kind]]
        assert sorted(told) == [(kind, code) for kind in ("gained", "lost") for code in ("LR320", "LR323")]
        first = receiver.posts[0]
        assert first["source"] == "liverouter"
        assert first["text"].startswith("error: default")
        assert receiver.posts[-1]["text"].startswith("over: default")
        assert {path for _, path, _ in receiver.requests} == {PATH}
        assert all({"Authorization", "Cookie"}.isdisjoint(headers) for _, _, headers in receiver.requests)
        assert {event.origin for event in events.of(AlertSent)} == {receiver.url}

    def test_what_was_told_outlives_all_processes(
        self, dsn: str, admin: Admin, receiver: Receiver, wait_until: Callable[..., None]
    ) -> None:
        """An error that stood before is not told again; one that went while nobody ran is told as over."""
        admin.connection.execute(
            "INSERT INTO liverouter.alerts (code, object, message, hint, stands, changed_at, told, times)"
            " VALUES ('LR320', 'long ago', 'it failed', '', true, now() - interval '1 day', true, 1)"
        )
        with LiveRouter(database_url=dsn):
            wait_until(lambda: hurry(admin.connection) and receiver.posts)
        assert [(post["gained"], [i["object"] for i in post["lost"]]) for post in receiver.posts] == [
            ([], ["long ago"])
        ]

    def test_post_that_fails_comes_again(
        self, dsn: str, admin: Admin, openai: StandIn, receiver: Receiver, wait_until: Callable[..., None]
    ) -> None:
        """A redirect is not followed, and is a failure; after three `problems` says so, until one arrives."""
        receiver.statuses = [503, 302, 404]
        events = EventLog()
        with LiveRouter(database_url=dsn, observers=(events,)) as live:
            events.wait_for(ConfigApplied)
            openai.fail(Failure.UNAUTHORIZED)
            with pytest.raises(Exception, match="401"):
                live.chat_model().invoke("hi")
            wait_until(lambda: hurry(admin.connection) and len(events.of(AlertFailed)) == 3)
            found = admin.ask("SELECT message FROM liverouter.problems WHERE code = 'LR328'")
            if found is not None:  # else the fourth try was quicker
                assert found == ("3 tries to send alerts failed: HTTP 404",)
            wait_until(lambda: hurry(admin.connection) and events.of(AlertSent))
            assert admin.ask("SELECT count(*) FROM liverouter.problems WHERE code = 'LR328'") == (0,)
        assert [event.error for event in events.of(AlertFailed)] == ["HTTP 503", "HTTP 302", "HTTP 404"]
        assert {path for _, path, _ in receiver.requests} == {PATH}

    def test_transaction_that_stays_open_does_not_keep_the_turn(
        self, dsn: str, admin: Admin, receiver: Receiver, login: Callable[..., str], connect: Callable[..., Session]
    ) -> None:
        """Somebody with a service's login looked by hand: that session is ended, and a client posts."""
        admin.execute(OVER)
        session = connect(login("liverouter_client"), autocommit=False)
        assert value(session, "SELECT liverouter_internal.next_alert()")["lost"]
        with LiveRouter(database_url=dsn):
            until(lambda: receiver.posts)

    def test_receiver_that_is_away_or_says_nothing_is_told_in_words(
        self, dsn: str, admin: Admin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In `problems` an operator reads what is wrong, and no class of a library's."""
        admin.execute(OVER)
        with closing(ClosedPort()) as closed, socket.create_server(("127.0.0.1", 0)) as silent:
            for port, error in (
                (closed.number, f"connection refused by 127.0.0.1:{closed.number}"),
                (silent.getsockname()[1], "no answer within 0.5 s"),
            ):
                monkeypatch.setattr(alerts, "_TIMEOUT_S", 60.0 if port == closed.number else 0.5)
                admin.execute("DELETE FROM liverouter.secrets")
                seal_webhook(admin.connection, f"http://127.0.0.1:{port}/", os.environ["LIVEROUTER_SECRET_KEYS"])
                with LiveRouter(database_url=dsn):
                    until(lambda error=error: hurry(admin.connection) and told(admin) == error)  # type: ignore[misc]

    def test_what_nobody_foresaw_gives_the_turn_back(
        self, dsn: str, admin: Admin, wait_until: Callable[..., None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A process that cannot post at all says so: the next one has not to wait for its minute to end."""
        admin.execute(OVER)
        monkeypatch.setattr(alerts, "_post", None)
        with LiveRouter(database_url=dsn):
            wait_until(lambda: told(admin) == "an error nobody foresaw, which the log tells")
            assert admin.ask("SELECT ticket FROM liverouter.alert_turn") == (None,)

    def test_url_may_be_sealed(self, receiver: Receiver) -> None:
        """As a secret of the same name; a row is overruled by it. One that is no URL is a warning."""
        config = {"llm_provider": "openai", "llm_model": "gpt-4o", "litellm_enable": False}
        with MemoryRouter(config, secrets={"openai_api_key": "sk-x", "llm_alert_webhook": receiver.url}) as live:
            live.set(llm_alert_webhook="https://hooks.example/row")
            webhook = live.generation().snapshot.alert_webhook
            assert webhook is not None
            assert webhook.reveal() == receiver.url
            events = EventLog()
            live._activation._bus.subscribe(events)  # noqa: SLF001 - it has no way to be told of later observers
            live.set(secrets={"llm_alert_webhook": "http://hooks.example/x"})
            assert live.generation().snapshot.alert_webhook is None
            (warning,) = events.of(ConfigApplied)[-1].warnings
            assert (warning.code, warning.where) == ("LR105", "secrets.llm_alert_webhook")


class TestShown:
    def test_path_of_a_url_in_a_row_is_shown_nowhere(self, db: Session, dsn: str, cli: Callable[..., Any]) -> None:
        """Whoever knows it may write there: history, command line, API and views show the origin."""
        origin = "https://hooks.example:8443"
        put(db, llm_alert_webhook=origin + PATH)
        put(db, llm_alert_webhook=origin + PATH + "/2")
        assert rows(db, "SELECT old, new FROM liverouter.revision_diff(1, 2)") == [{"old": origin, "new": origin}]
        for command in (["show", "--settings"], ["show", "--settings", "--json"], ["diff", "1", "2"], ["history"]):
            result = cli(*command)
            assert result.code == 0
            assert PATH not in result.out + result.err
        assert origin in cli("show", "--settings").out
        with Api(dsn) as api:
            said = api.client.get("/api/config").text
        assert origin in said
        assert PATH not in said
        LEDGER.clear()  # what the daemon takes for a secret stands in the row itself

    def test_slack_gets_a_text_that_calls_nobody(self) -> None:
        """Its own shape, in which a message cannot ping a channel; long lists are cut."""
        item = {"code": "LR320", "object": "default", "message": "<!channel> & sk-0123456789abcdef0123", "hint": ""}
        said = alerts.document({"gained": [item] * 30, "lost": [item]}, host="hooks.slack.com")
        assert said.keys() == {"text"}
        assert said["text"].startswith("error: default: &lt;!channel&gt; &amp; sk-012345*** [LR320]\n")
        assert said["text"].endswith("and 11 more")


@pytest.mark.servers("embedded", "debian")
class TestTurns:
    def test_error_that_comes_and_goes_is_told_less_each_time(self, db: Session) -> None:
        """Gone for 15 s at first, then for twice as long; forgotten an hour later."""
        stop_clock(db)
        process = Process(db)
        refused = {"severity": "error", "code": "LR102", "where": "x", "message": "no key", "hint": ""}
        put(db, llm_provider="openai", llm_model="gpt-4o")

        def look(*problems: dict[str, str], later_s: float = 0) -> tuple[int, int] | None:
            """Look, *later_s* seconds after the last change; return how many were gained and lost, and settle that."""
            process.run(1, problems=list(problems))
            db.execute("UPDATE liverouter.alerts SET changed_at = changed_at - make_interval(secs => %s)", [later_s])
            db.execute(b"UPDATE liverouter.alert_turn SET next_at = '-infinity'")
            if (news := value(db, "SELECT liverouter_internal.next_alert()")) is None:
                return None
            assert value(db, "SELECT liverouter_internal.next_alert()") is None, "one has the turn"
            db.execute("SELECT liverouter_internal.settle_alert(%s, NULL)", [news["ticket"]])
            return len(news["gained"]), len(news["lost"])

        assert look() is None
        assert look(refused) == (1, 0)
        assert look(refused, later_s=100) is None
        assert look() is None
        assert look(later_s=14) is None
        assert look(refused) is None, "it was never told as gone"
        assert look() is None
        assert look(later_s=15) == (0, 1)
        assert look(refused) == (1, 0)
        assert look() is None
        assert look(later_s=15) is None
        assert look(later_s=15) == (0, 1)
        assert look(later_s=3_601) is None
        assert rows(db, "SELECT * FROM liverouter.alerts") == []

    def test_turn_that_nobody_settles_passes_on(self, db: Session) -> None:
        """Whoever had it may have died; what it settles later is too late."""
        put(db, llm_provider="nobody")
        first = value(db, "SELECT liverouter_internal.next_alert()")
        db.execute(b"UPDATE liverouter.alert_turn SET next_at = '-infinity'")
        second = value(db, "SELECT liverouter_internal.next_alert()")
        assert second["gained"] == first["gained"] != []
        db.execute("SELECT liverouter_internal.settle_alert(%s, NULL)", [first["ticket"]])
        assert value(db, "SELECT bool_or(told) FROM liverouter.alerts") is False
        db.execute("SELECT liverouter_internal.settle_alert(%s, NULL)", [second["ticket"]])
        assert value(db, "SELECT bool_and(told) FROM liverouter.alerts") is True

    def test_who_had_it_and_told_nothing_comes_last(self, db: Session, connect: Callable[..., Session]) -> None:
        """Whether it said why or not: others are asked first, for two of their looks; alone it gets the turn then."""
        moment = stop_clock(db)
        put(db, llm_provider="nobody")
        ask, other = "SELECT liverouter_internal.next_alert()", connect()

        def pass_s(seconds: float) -> None:
            """Let the turn be free for so many seconds."""
            free_at = moment - timedelta(seconds=seconds)
            db.execute("UPDATE liverouter.alert_turn SET next_at = %s", [free_at])

        assert value(db, ask) is not None
        pass_s(0)
        assert value(db, ask) is None
        news = value(other, ask)
        other.execute("SELECT liverouter_internal.settle_alert(%s, 'HTTP 403')", [news["ticket"]])
        pass_s(0)
        assert value(other, ask) is None
        assert value(db, ask) is not None
        pass_s(9)
        assert value(db, ask) is None
        pass_s(10)
        news = value(db, ask)
        db.execute("SELECT liverouter_internal.settle_alert(%s, NULL)", [news["ticket"]])
        assert value(db, "SELECT holder FROM liverouter.alert_turn") is None

    def test_login_that_is_another_session_each_time_comes_last_after_three_turns(
        self, db: Session, dsn: str, login: Callable[..., str], connect: Callable[..., Session]
    ) -> None:
        """It reconnects, or comes by a pooler; until then the fault may be one process's of many with one login."""
        moment = stop_clock(db)
        put(db, llm_provider="nobody")
        ask, other = "SELECT liverouter_internal.next_alert()", connect(login("liverouter_client"))

        def asked_anew() -> Any:
            """Return what the same login is told in a new session, after the time of the turn before."""
            db.execute("UPDATE liverouter.alert_turn SET next_at = %s", [moment])
            with connect(dsn) as session:
                return value(session, ask)

        assert [asked_anew() is not None for _ in range(4)] == [True, True, True, False]
        news = value(other, ask)
        assert news is not None
        other.execute("SELECT liverouter_internal.settle_alert(%s, NULL)", [news["ticket"]])
        assert rows(db, "SELECT holder, holder_login FROM liverouter.alert_turn") == [
            {"holder": None, "holder_login": None}
        ]

    def test_client_may_ask_and_others_may_not(
        self, db: Session, login: Callable[..., str], connect: Callable[..., Session]
    ) -> None:
        """A service's login, which sees no view, can send alerts."""
        put(db, llm_provider="nobody")
        assert value(connect(login("liverouter_client")), "SELECT liverouter_internal.next_alert()")["gained"]
        with pytest.raises(Exception, match="permission denied"):
            value(connect(login("liverouter_inspector")), "SELECT liverouter_internal.next_alert()")
