"""The fleet through the API: who runs what, the stream of what changes, and the endpoints that operate the process."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from starlette.requests import Request

from liverouter import LiveRouter
from liverouter.daemon.api_fleet import read_events
from liverouter.daemon.auth import AdminToken, LoginLimiter
from liverouter.daemon.context import build_context
from liverouter.daemon.fleet import Fleet, Watch
from liverouter.daemon.metrics import Metrics
from liverouter.daemon.problem_details import ApiError
from liverouter.daemon.request_guard import Policy
from liverouter.daemon.sse import Hub, encode
from liverouter.postgres.repository import SettingsRepository
from liverouter.secrecy.sealing import generate_key
from liverouter.testing import StandIn
from tests.kit.admin import Admin
from tests.kit.http import PATIENCE_S, Api
from tests.kit.postgres.outage import cut_off, let_in
from tests.kit.waiting import until, until_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractContextManager

KEY: Final = "sk-test-0123456789abcdef"


@contextmanager
def serving(dsn: str) -> Iterator[Api]:
    """Have the API on an empty database, with a stand-in that knows one key."""
    with StandIn("openai", accept_keys=[KEY]) as openai, Api(dsn, secret_keys=generate_key()) as api:
        until(lambda: api.get("/api/instances"))  # so that it is known to have been there before the revision
        rows = {"llm_provider": "openai", "llm_model": "gpt-4o", "openai_api_base": openai.api_base}
        api.save(settings=rows, secrets={"openai_api_key": KEY})
        until(lambda: api.get("/api/instances")[0]["state"] == "live")  # it listens, too
        yield api


@pytest.fixture
def api(dsn: str) -> Iterator[Api]:
    """The API of this test's own, whose client is live on revision 1, and has said so."""
    with serving(dsn) as api:
        yield api


@pytest.fixture(scope="module")
def database(new_database: Callable[[str], AbstractContextManager[str]]) -> Iterator[str]:
    """The URL of a database that several tests share."""
    with new_database("api_fleet") as dsn:
        yield dsn


@pytest.fixture(scope="module")
def served(database: str) -> Iterator[Api]:
    """The API on that database."""
    with serving(database) as api:
        yield api


@pytest.fixture
def shared(served: Api) -> Api:
    """The same with the config that it began with, at whatever revision."""
    served.save(settings={"llm_provider": "openai", "llm_temperature": None, "llm:fast": None})
    return served


@pytest.fixture
def worker(shared: Api, database: str, monkeypatch: pytest.MonkeyPatch) -> LiveRouter:
    """Another process on that database, to be entered; its goodbye is heard, however slow the database is."""
    for limit in ("client._CLOSE_S", "engine.engine._GOODBYE_S"):
        monkeypatch.setattr(f"liverouter.{limit}", PATIENCE_S)
    return LiveRouter(database_url=database, secret_keys=shared.live.options.secret_keys, app="worker")


def revision(api: Api) -> int:
    """Return the revision of the config."""
    return int(api.get("/api/config")["revision"])


def find(events: Iterator[tuple[str, Any]], kind: str, wanted: Callable[[Any], object]) -> Any:
    """Return the first event of *kind* that is *wanted*."""
    return next(data for name, data in events if name == kind and wanted(data))


class TestFleet:
    def test_instance_says_what_it_runs_and_how_fast(self, shared: Api) -> None:
        """A process shows its state and revision, and the milliseconds from commit to live."""
        began = time.time()
        saved = shared.save(settings={"llm_temperature": 0.5})
        (one,) = until(lambda: [row for row in shared.get("/api/instances") if row["state"] == "live"])
        assert (one["app"], one["applied_revision"]) == ("daemon", saved)
        assert 0 <= one["commit_to_live_ms"] <= (time.time() - began) * 1000

    def test_serving_counts_processes_by_deployment(self, shared: Api) -> None:
        """What serves is told once per name and deployment, with the number of processes and the revision."""
        saved = shared.save(settings={"llm:fast": {"provider": "openai", "model": "gpt-4o"}})
        one, other = until(lambda: [rows for rows in [shared.get("/api/serving")] if len(rows) == 2])[0]
        assert (one["provider"], one["model"], one["role"], one["processes"]) == ("openai", "gpt-4o", "primary", 1)
        assert (one["name"], other["name"], other["deployment_id"]) == ("default", "fast", one["deployment_id"])
        assert {one["revision"], other["revision"]} == {saved}

    def test_rollout_counts_who_applied(self, shared: Api) -> None:
        """A revision's rollout says how many applied it and how long that took."""
        row = shared.get(f"/api/rollout/{shared.save(settings={'llm_temperature': 0.5})}")
        assert (row["applied"], row["rejected"], row["pending"]) == (1, 0, 0)
        assert row["p50_ms"] is not None

    def test_refusal_is_a_problem_with_its_reason(self, shared: Api) -> None:
        """A process that refuses a revision shows there with code and hint, and goes on with the one it has.

        Prometheus counts it.
        """

        def sample(name: str) -> float:
            lines = shared.client.get("/metrics").text.splitlines()
            return float(next(line.rpartition(" ")[2] for line in lines if line.startswith(f"{name} ")))

        kept, counted = revision(shared), sample('liverouter_reload_total{result="rejected"}')
        refused = shared.put(settings={"llm_provider": "nobody"}).json()["revision"]
        until(lambda: shared.get("/api/instances")[0]["rejected_revision"] == refused)
        (one,) = shared.get("/api/instances")
        assert (one["applied_revision"], one["error_code"]) == (kept, "LR101")
        assert "LR403" in {p["code"] for p in shared.get("/api/problems")}
        assert sample('liverouter_reload_total{result="rejected"}') == counted + 1
        assert (sample("liverouter_revision"), sample("liverouter_desired_revision")) == (kept, refused)

    def test_usage_counts_calls(self, api: Api) -> None:
        """Calls show up by minute and deployment, and each deployment says on which day it answered last."""
        api.post("/api/try", prompt="hi")
        (point,) = until(lambda: api.get("/api/usage", minutes=30))
        assert (point["model"], point["role"], point["calls"], point["failures"]) == ("gpt-4o", "primary", 1, 0)
        (one,) = api.get("/api/serving")
        assert one["answered_on"] == point["minute"][:10]


class TestStream:
    def test_first_event_tells_everything(self, shared: Api) -> None:
        """A page that connects is told status, head, processes, deployments, problems and usage at once."""
        with shared.events() as events:
            name, data = next(events)
        assert name == "hello"
        assert set(data) == {"status", "database", "head", "instances", "serving", "problems", "usage"}
        assert data["status"]["revision"] == data["head"]["revision"] == revision(shared)

    def test_change_turns_the_processes_one_by_one(self, shared: Api, database: str, worker: LiveRouter) -> None:
        """A change written by plain SQL is told as a new head, then as each process turns to it, with its time."""
        with worker, shared.events() as events, closing(Admin(database)) as admin:
            find(events, "instances", lambda data: {"worker"} & {row["app"] for row in data["changed"]})
            written = admin.set(llm_temperature=0.5)
            find(events, "head", lambda head: head["revision"] == written)
            turned: set[str] = set()
            for name, data in events:
                if name == "instances":
                    turned |= {
                        r["app"] for r in data["changed"] if r["applied_revision"] == written and r["commit_to_live_ms"]
                    }
                if turned == {"worker", "daemon"}:
                    break

    def test_own_events_come_through(self, shared: Api) -> None:
        """What happens in this process is told as it happens, with its facts."""
        with shared.events() as events:
            next(events)
            written = shared.put(settings={"llm_temperature": 0.5}).json()["revision"]
            applied = find(events, "event", lambda event: event["name"] == "config.applied")
        assert applied["revision"] == written

    def test_process_that_ends_is_gone(self, shared: Api, worker: LiveRouter) -> None:
        """A process that says goodbye leaves the list."""
        with shared.events() as events:
            with worker:
                find(events, "instances", lambda data: worker.client_id in {r["instance"] for r in data["changed"]})
            find(events, "instances", lambda data: worker.client_id in data["gone"])

    def test_lost_database_is_told_and_leaves_it_ready(self, api: Api, dsn: str) -> None:
        """While the database does not answer, streams say so and stay open, and the process answers calls.

        Its readiness says that it is degraded. Whoever opens a page meanwhile lacks what the others know, and gets it
        once the database is back.
        """
        name = dsn.rpartition("/")[2]
        with psycopg.connect(dsn.replace(name, "postgres"), autocommit=True) as server, api.events() as first:
            next(first)
            cut_off(server, name)
            lost = find(first, "database", lambda data: data is not None)
            assert lost["code"].startswith("LR20")
            api.live.reload()
            until(lambda: api.client.get("/readyz").json()["state"] == "stale")
            answer = api.client.get("/readyz")
            assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
            assert api.post("/api/try", prompt="hi")["answer"] == "gpt-4o says: hi"
            assert "liverouter_database_up 0.0" in api.client.get("/metrics").text
            with api.events() as second:
                kind, hello = next(second)
                assert (kind, "head" in hello) == ("hello", False)
                let_in(server, name)
                told = {kind for kind, _ in takewhile(lambda one: one != ("database", None), second)}
            assert told >= {"head", "instances", "serving"}
            find(first, "database", lambda data: data is None)

    def test_usage_that_cannot_be_read_hides_nothing_else(self, api: Api, dsn: str) -> None:
        """However much a login has filled its table: head, processes and problems are told, and the database is up."""
        with closing(Admin(dsn)) as owner:
            owner.execute("ALTER VIEW liverouter.usage_detail RENAME TO usage_elsewhere")
        with api.events() as events:
            kind, hello = next(events)
            assert (kind, hello["database"], hello["usage"]) == ("hello", None, [])
            assert hello["instances"]
            assert {"head", "serving", "problems"} <= hello.keys()
            find(events, "usage", lambda data: data == [])
        assert api.client.get("/api/usage").status_code == 503
        assert "liverouter_database_up 1.0" in api.client.get("/metrics").text

    async def test_what_happens_during_the_hello_follows_it(self) -> None:
        """A stream hears from its beginning on, so that nothing falls between the first state and the changes."""
        hub = Hub()

        async def hello() -> bytes:
            hub.publish("number", 1)
            return b"hello"

        stream = hub.stream(hello)
        assert (await anext(stream)).startswith(b"retry: ")
        assert await anext(stream) == b"hello"
        assert await anext(stream) == b"event: number\ndata: 1\n\n"

    async def test_reader_that_lags_is_cut_off(self) -> None:
        """A stream whose reader lags far behind ends, and the others go on."""
        hub = Hub()
        slow, quick = hub.stream(hello), hub.stream(hello)
        await begin(slow)
        await begin(quick)
        for number in range(1000):
            hub.publish("number", number)
            await anext(quick)
        assert len([message async for message in slow]) < 300
        hub.publish("number", 1000)
        assert await anext(quick) == b"event: number\ndata: 1000\n\n"

    async def test_close_ends_every_stream(self) -> None:
        """At the end of the process every stream ends, those opened later too."""
        hub = Hub()
        stream = hub.stream(hello)
        await begin(stream)
        hub.close()
        assert [message async for message in stream] == []
        assert [message async for message in hub.stream(hello)][1:] == [b"hello"]

    async def test_those_that_begin_at_once_are_bounded(
        self, worker: LiveRouter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A stream counts from the moment it is granted, not from its first bytes: the next one too many is refused."""
        monkeypatch.setattr("liverouter.daemon.api_fleet.MAX_STREAMS", 2)
        policy = Policy(admin_token=AdminToken(None), login_limiter=LoginLimiter(), any_host=False)
        request = Request({"type": "http", "headers": []})
        with worker as live:
            context = build_context(live, policy, lambda path, error: pytest.fail(f"{path}: {error}"))
            granted = [await read_events(context, request) for _ in range(2)]
            with pytest.raises(ApiError, match="too many streams"):
                await read_events(context, request)
            del granted  # nobody read them: asyncio closes them
            await until_async(lambda: context.hub.streams == 0)


async def hello() -> bytes:
    """Return what a stream begins with."""
    return b"hello"


async def begin(stream: AsyncIterator[bytes]) -> None:
    """Read what comes before the first event."""
    assert (await anext(stream)).startswith(b"retry: ")
    assert await anext(stream) == b"hello"


class TestProcess:
    def test_ready_once_a_config_is_live(self, shared: Api, empty_dsn: str) -> None:
        """The readiness probe is 200 with a live config, and 503 with the codes of what is missing without one.

        What is not live has no age.
        """
        until(lambda: shared.client.get("/readyz").json()["status"] == "ready")
        assert shared.client.get("/readyz").status_code == 200
        with Api(empty_dsn) as unmigrated:
            until(lambda: unmigrated.client.get("/readyz").json()["degraded"] == ["LR204"])
            assert unmigrated.client.get("/readyz").status_code == 503
            assert "liverouter_config_age_seconds " not in unmigrated.client.get("/metrics").text
            assert unmigrated.client.get("/livez").status_code == 200

    def test_metrics_tell_config_and_listener(self, shared: Api) -> None:
        """Prometheus reads revision, generation, age, reloads by result, apply latency, listener and fleet."""

        def read() -> dict[tuple[str, ...], float]:
            text = shared.client.get("/metrics").text
            assert KEY not in text
            families = text_string_to_metric_families(text)
            return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}

        # on a busy machine it may have lost its database, or ceased to listen, for a moment
        steady = {("liverouter_database_up",), ("liverouter_listener", "listen"), ("liverouter_instances", "live")}
        until(lambda: dict.fromkeys(steady, 1).items() <= read().items())
        found = read()
        assert found["liverouter_revision",] == revision(shared)
        assert found["liverouter_generation",] == found["liverouter_reload_total", "applied"]
        assert found["liverouter_generation",] == found["liverouter_apply_seconds_count",] >= 1
        assert found["liverouter_config_age_seconds",] >= 0
        assert ("liverouter_reload_total", "read_failed") in found

    async def test_metrics_count_the_calls_of_the_whole_fleet(self, dsn: str) -> None:
        """Each call since the start is counted once, however often somebody scrapes, however late it is reported."""
        start = datetime.now(UTC).replace(second=0, microsecond=0)
        now = [start]
        repository = SettingsRepository(url=dsn)
        metrics = Metrics(repository=repository, registry=CollectorRegistry(), clock=lambda: now[0])
        counted = []
        lines: list[str] = []
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            # minute of the scrape; minute, process and calls of a report before it
            for minutes, *report in (
                (0, -1, 1, 100),
                (0, 0, 1, 5),
                (1, 0, 1, 8),
                (1,),
                (9, 1, 1, 7),
                (30, 2, 2, 4),
                (90,),
            ):
                if report:
                    minute, process, calls = report
                    await connection.execute(
                        "INSERT INTO liverouter.usage_minutes VALUES (lpad(%s::text, 32, '0')::uuid, %s,"
                        " 'openai/gpt-4o#1', 'primary', 'openai', 'gpt-4o', %s, '{\"Timeout\": 2}',"
                        " 1, 10, 10, 0.5, 100, 50)"
                        " ON CONFLICT (instance, minute, name, deployment_id, role)"
                        " DO UPDATE SET calls = excluded.calls",
                        (process, start + timedelta(minutes=minute), calls),
                    )
                now[0] = start + timedelta(minutes=minutes)
                lines = (await metrics.scrape()).decode().splitlines()
                counted.append([line.split()[-1] for line in lines if line.startswith("liverouter_calls_total{")])
        await repository.close()
        assert counted == [[], ["5.0"], ["8.0"], ["8.0"], ["15.0"], ["19.0"], ["19.0"]]
        labels = '{deployment_id="openai/gpt-4o#1",model="gpt-4o",name="default",provider="openai",role="primary"}'
        assert {f"liverouter_failures_total{labels} 6.0", f"liverouter_failovers_total{labels} 3.0"} <= set(lines)

    async def test_metrics_keep_what_they_last_read(self, dsn: str) -> None:
        """Where processes can be read and problems cannot, none is gone: an alert would end by that."""
        repository = SettingsRepository(url=dsn)
        metrics = Metrics(repository=repository, registry=CollectorRegistry())
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            await connection.execute("INSERT INTO liverouter.settings VALUES ('llm_provider', '\"opnai\"')")
            told = [line for line in (await metrics.scrape()).splitlines() if line.startswith(b"liverouter_problems{")]
            assert told
            await connection.execute("ALTER VIEW liverouter.problems_detail RENAME TO moved")
            await connection.execute("ALTER VIEW liverouter.problems RENAME TO moved_as_well")
            assert set(told) <= set((await metrics.scrape()).splitlines())
        await repository.close()

    def test_openapi_names_every_route(self, shared: Api) -> None:
        """The document lists what there is, for other UIs."""
        paths = shared.get("/api/openapi.json")["paths"]
        assert set(islice(paths, 100)) >= {"/api/config", "/api/events", "/api/check", "/api/rollback", "/readyz"}


class Uneventful(Fleet):
    """A fleet without calls and problems, which asks no database."""

    async def serving(self) -> list[dict[str, Any]]:
        """No process serves."""
        return []

    async def problems(self) -> list[dict[str, Any]]:
        """There are none."""
        return []

    async def usage(self, minutes: int) -> list[dict[str, Any]]:
        """There were no calls."""
        return [][:minutes]


class TestUnforeseen:
    async def test_watcher_goes_on_after_an_error_that_nobody_foresaw_and_tells_it_once(self) -> None:
        """Three looks fail, the fourth works: one complaint, pages are told, and all is told later."""
        hub = Hub()
        told: list[str] = []
        looks: list[int] = []

        class Broken(Uneventful):
            async def head(self) -> dict[str, Any]:
                looks.append(1)
                await asyncio.sleep(0)  # others go on meanwhile, as in every read
                if len(looks) < 4:
                    watch.wake()  # look again at once
                    raise RuntimeError("no such thing: sk-abcdef0123456789abcdef")
                return {"revision": 7, "pending": 0}

            async def instances(self, head: dict[str, Any]) -> list[dict[str, Any]]:
                return [head][1:]

        watch = Watch(fleet=Broken(SettingsRepository(url="postgresql://127.0.0.1/x")), hub=hub, report=told.append)
        stream = hub.stream(hello)
        await begin(stream)
        running = asyncio.create_task(watch.run())
        try:
            async with asyncio.timeout(60):
                seen = [(await anext(stream)).decode() for _ in range(2)]
        finally:
            running.cancel()
        assert "LR699" in seen[0]
        assert seen[1].startswith("event: head")
        assert [one.startswith("RuntimeError: no such thing: sk-abcdef***") for one in told] == [True]

    async def test_process_that_ends_before_all_is_told_again_is_gone(self) -> None:
        """Pages that are open already lose a process that ended just before everything is told again."""
        hub = Hub()
        running = [{"instance": "a"}, {"instance": "b"}]

        class Shrinking(Uneventful):
            async def head(self) -> dict[str, Any]:
                return {"revision": 7, "pending": 0}

            async def instances(self, head: dict[str, Any]) -> list[dict[str, Any]]:
                return [one for one in running if head]

        fleet = Shrinking(SettingsRepository(url="postgresql://127.0.0.1/x"))
        watch = Watch(fleet=fleet, hub=hub, report=pytest.fail)
        stream = hub.stream(hello)
        await begin(stream)
        watching = asyncio.create_task(watch.run())
        try:
            async with asyncio.timeout(60):
                while b"event: instances" not in await anext(stream):
                    pass
                running.pop()
                watch.forget()
                while b"event: instances" not in (message := await anext(stream)):
                    pass
        finally:
            watching.cancel()
        assert message.endswith(b'{"changed":[{"instance":"a"}],"gone":["b"]}\n\n')

    def test_stream_that_cannot_be_begun_says_so_and_goes_on(
        self, shared: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An error in what a page needs at first is told there and in the log; the stream stays."""
        failing = [True]

        async def broken(_: Fleet) -> dict[str, Any]:
            if failing:
                raise RuntimeError("unforeseen")
            return await head(_)

        head = Fleet.head
        with monkeypatch.context() as patch:
            patch.setattr(Fleet, "head", broken)
            with shared.events() as events:
                kind, hello = next(events)
                assert (kind, hello["database"]["code"], "status" in hello) == ("hello", "LR699", True)
                failing.clear()
                find(events, "instances", lambda data: data["changed"])
        assert "/api/events: RuntimeError: unforeseen" in shared.reports
        shared.reports.clear()  # the watch meets the error, too

    def test_number_that_json_lacks_goes_as_null(self) -> None:
        """No browser parses NaN: one such value would end the stream for every page."""
        message = encode("usage", [{"a": float("nan"), "b": {"c": [float("inf"), 1.5]}}])
        assert message == b'event: usage\ndata: [{"a":null,"b":{"c":[null,1.5]}}]\n\n'

    async def test_metrics_do_not_grow_with_names_that_a_login_makes_up(self, dsn: str) -> None:
        """A thousand deployments have counters of their own, all others one together; no call is lost."""
        repository = SettingsRepository(url=dsn)
        metrics = Metrics(repository=repository, registry=CollectorRegistry())
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            await connection.execute(
                "INSERT INTO liverouter.usage_minutes"
                " SELECT gen_random_uuid(), date_trunc('minute', now()), 'made-up-' || n, 'primary', 'p', 'm', 1, '{}',"
                " 0, 0, 0, 0, 0, 0 FROM generate_series(1, 3000) n"
            )
        counted = []
        for _ in range(2):
            lines = (await metrics.scrape()).decode().splitlines()
            counted.append([float(line.split()[-1]) for line in lines if line.startswith("liverouter_calls_total{")])
        await repository.close()
        assert [(len(numbers), sum(numbers)) for numbers in counted] == [(1001, 3000.0)] * 2
