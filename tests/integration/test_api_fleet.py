"""The fleet through the API: who runs what, the stream of what changes, and the endpoints that operate the process."""

from __future__ import annotations

import asyncio
import time
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
from tests.kit.http import PATIENCE_S, Api
from tests.kit.postgres.outage import cut_off, let_in
from tests.kit.waiting import until_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from liverouter.testing import StandIn

KEY: Final = "sk-test-0123456789abcdef"


@pytest.fixture
def standin_options() -> dict[str, Any]:
    """What the stand-ins are made with: each knows one key."""
    return {"accept_keys": [KEY]}


@pytest.fixture
def api(dsn: str, openai: StandIn, wait_until: Callable[..., None]) -> Iterator[Api]:
    """The API, whose own client is live on revision 1, and has said so."""
    with Api(dsn, secret_keys=generate_key()) as api:
        wait_until(lambda: api.get("/api/instances"))  # so that it is known to have been there before the revision
        rows = {"llm_provider": "openai", "llm_model": "gpt-4o", "openai_api_base": openai.api_base}
        assert api.save(settings=rows, secrets={"openai_api_key": KEY}) == 1
        wait_until(lambda: api.get("/api/instances")[0]["state"] == "live")  # it listens, too
        yield api


def until(events: Iterator[tuple[str, Any]], kind: str, wanted: Callable[[Any], object]) -> Any:
    """Return the first event of *kind* that is *wanted*."""
    return next(data for name, data in events if name == kind and wanted(data))


class TestFleet:
    def test_instance_says_what_it_runs_and_how_fast(self, api: Api) -> None:
        """A process shows its state and revision, and the milliseconds from commit to live."""
        began = time.time()
        revision = api.save(settings={"llm_temperature": 0.5})
        (one,) = api.get("/api/instances")
        assert (one["app"], one["state"], one["applied_revision"]) == ("daemon", "live", revision)
        assert 0 <= one["commit_to_live_ms"] <= (time.time() - began) * 1000

    def test_serving_counts_processes_by_deployment(self, api: Api, wait_until: Callable[..., None]) -> None:
        """What serves is told once per name and deployment, with the number of processes and the revision."""
        assert api.save(settings={"llm:fast": {"provider": "openai", "model": "gpt-4o"}}) == 2
        wait_until(lambda: len(api.get("/api/serving")) == 2)
        one, other = api.get("/api/serving")
        assert (one["provider"], one["model"], one["role"], one["processes"]) == ("openai", "gpt-4o", "primary", 1)
        assert (one["name"], other["name"], other["deployment_id"]) == ("default", "fast", one["deployment_id"])
        assert {one["revision"], other["revision"]} == {2}

    def test_rollout_counts_who_applied(self, api: Api) -> None:
        """A revision's rollout says how many applied it and how long that took."""
        row = api.get("/api/rollout/1")
        assert (row["applied"], row["rejected"], row["pending"]) == (1, 0, 0)
        assert row["p50_ms"] is not None

    def test_refusal_is_a_problem_with_its_reason(self, api: Api, wait_until: Callable[..., None]) -> None:
        """A process that refuses a revision shows there with code and hint, and goes on with the one it has."""
        api.put(settings={"llm_provider": "nobody"})
        wait_until(lambda: api.get("/api/instances")[0]["rejected_revision"] == 2)
        (one,) = api.get("/api/instances")
        assert (one["applied_revision"], one["error_code"]) == (1, "LR101")
        assert "LR403" in {p["code"] for p in api.get("/api/problems")}

    def test_usage_counts_calls(self, api: Api, wait_until: Callable[..., None]) -> None:
        """Calls show up by minute and deployment, and each deployment says on which day it answered last."""
        api.post("/api/try", prompt="hi")
        wait_until(lambda: api.get("/api/usage", minutes=5))
        (point,) = api.get("/api/usage", minutes=5)
        assert (point["model"], point["role"], point["calls"], point["failures"]) == ("gpt-4o", "primary", 1, 0)
        (one,) = api.get("/api/serving")
        assert one["answered_on"] == point["minute"][:10]


class TestStream:
    def test_first_event_tells_everything(self, api: Api) -> None:
        """A page that connects is told status, head, processes, deployments, problems and usage at once."""
        with api.events() as events:
            name, data = next(events)
        assert name == "hello"
        assert set(data) == {"status", "database", "head", "instances", "serving", "problems", "usage"}
        assert (data["status"]["state"], data["head"]["revision"]) == ("live", 1)

    def test_change_turns_the_processes_one_by_one(self, api: Api, dsn: str) -> None:
        """A change written by plain SQL is told as a new head, then as each process turns to it, with its time."""
        with (
            LiveRouter(database_url=dsn, secret_keys=api.live.options.secret_keys, app="worker"),
            api.events() as events,
        ):
            until(events, "instances", lambda data: {"worker"} & {row["app"] for row in data["changed"]})
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute("INSERT INTO liverouter.settings VALUES ('llm_temperature', '0.5')")
            until(events, "head", lambda head: head["revision"] == 2)
            turned: set[str] = set()
            for name, data in events:
                if name == "instances":
                    turned |= {
                        r["app"] for r in data["changed"] if r["applied_revision"] == 2 and r["commit_to_live_ms"]
                    }
                if turned == {"worker", "daemon"}:
                    break

    def test_own_events_come_through(self, api: Api) -> None:
        """What happens in this process is told as it happens, with its facts."""
        with api.events() as events:
            next(events)
            api.put(settings={"llm_temperature": 0.5})
            applied = until(events, "event", lambda event: event["name"] == "config.applied")
        assert applied["revision"] == 2

    def test_process_that_ends_is_gone(self, api: Api, dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A process that says goodbye leaves the list."""
        for limit in ("client._CLOSE_S", "engine.engine._GOODBYE_S"):  # the database may be slow to hear it
            monkeypatch.setattr(f"liverouter.{limit}", PATIENCE_S)
        with api.events() as events:
            with LiveRouter(database_url=dsn, secret_keys=api.live.options.secret_keys, app="worker") as worker:
                until(events, "instances", lambda data: worker.client_id in {r["instance"] for r in data["changed"]})
            until(events, "instances", lambda data: worker.client_id in data["gone"])

    def test_lost_database_is_told(self, api: Api, dsn: str) -> None:
        """While the database does not answer, the stream says so and stays open."""
        name = dsn.rpartition("/")[2]
        with psycopg.connect(dsn.replace(name, "postgres"), autocommit=True) as admin, api.events() as events:
            next(events)
            cut_off(admin, name)
            lost = until(events, "database", lambda data: data is not None)
            assert lost["code"].startswith("LR20")
            let_in(admin, name)
            until(events, "database", lambda data: data is None)

    def test_page_opened_without_the_database_is_told_everything_later(self, api: Api, dsn: str) -> None:
        """Whoever connects meanwhile lacks what the others know, and gets it once the database is back."""
        name = dsn.rpartition("/")[2]
        with psycopg.connect(dsn.replace(name, "postgres"), autocommit=True) as admin, api.events() as first:
            next(first)
            cut_off(admin, name)
            until(first, "database", lambda data: data is not None)
            with api.events() as second:
                kind, hello = next(second)
                assert (kind, "head" in hello) == ("hello", False)
                let_in(admin, name)
                told = {kind for kind, _ in takewhile(lambda one: one != ("database", None), second)}
            assert told >= {"head", "instances", "serving"}

    def test_usage_that_cannot_be_read_hides_nothing_else(self, api: Api, dsn: str) -> None:
        """However much a login has filled its table: head, processes and problems are told, and the database is up."""
        with psycopg.connect(dsn, autocommit=True) as owner:
            owner.execute("ALTER VIEW liverouter.usage_detail RENAME TO usage_elsewhere")
        with api.events() as events:
            kind, hello = next(events)
            assert (kind, hello["database"], hello["usage"]) == ("hello", None, [])
            assert hello["instances"]
            assert {"head", "serving", "problems"} <= hello.keys()
            until(events, "usage", lambda data: data == [])
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

    async def test_those_that_begin_at_once_are_bounded(self, dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A stream counts from the moment it is granted, not from its first bytes: the next one too many is refused."""
        monkeypatch.setattr("liverouter.daemon.api_fleet.MAX_STREAMS", 2)
        policy = Policy(admin_token=AdminToken(None), login_limiter=LoginLimiter(), any_host=False)
        request = Request({"type": "http", "headers": []})
        with LiveRouter(database_url=dsn) as live:
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
    def test_ready_once_a_config_is_live(self, api: Api, empty_dsn: str) -> None:
        """The readiness probe is 200 with a live config, and 503 with the codes of what is missing without one.

        What is not live has no age.
        """
        answer = api.client.get("/readyz")
        assert (answer.status_code, answer.json()["status"]) == (200, "ready")
        with Api(empty_dsn) as unmigrated:
            assert "liverouter_config_age_seconds " not in unmigrated.client.get("/metrics").text
            answer = unmigrated.client.get("/readyz")
            assert (answer.status_code, answer.json()["degraded"]) == (503, ["LR204"])
            assert unmigrated.client.get("/livez").status_code == 200

    def test_lost_database_leaves_it_ready(self, api: Api, dsn: str, wait_until: Callable[..., None]) -> None:
        """A process that serves stays ready when its database goes, says that it is degraded, and answers calls."""
        name = dsn.rpartition("/")[2]
        with psycopg.connect(dsn.replace(name, "postgres"), autocommit=True) as admin:
            cut_off(admin, name)
            api.live.reload()
            wait_until(lambda: api.client.get("/readyz").json()["state"] == "stale")
            answer = api.client.get("/readyz")
            assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
            assert api.post("/api/try", prompt="hi")["answer"] == "gpt-4o says: hi"
            assert "liverouter_database_up 0.0" in api.client.get("/metrics").text
            let_in(admin, name)

    def test_metrics_tell_config_and_listener(self, api: Api) -> None:
        """Prometheus reads revision, generation, age, reloads by result, apply latency, listener and fleet."""
        text = api.client.get("/metrics").text
        found = {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        assert found["liverouter_revision",] == found["liverouter_generation",] == 1
        assert found["liverouter_config_age_seconds",] >= 0
        assert found["liverouter_listener", "listen"] == 1
        assert found["liverouter_database_up",] == 1
        assert found["liverouter_instances", "live"] == 1
        assert found["liverouter_reload_total", "applied"] == found["liverouter_apply_seconds_count",] == 1
        assert found["liverouter_reload_total", "read_failed"] == 0
        assert KEY not in text

    def test_metrics_count_refusals(self, api: Api, wait_until: Callable[..., None]) -> None:
        """A revision that is refused counts as such; the one in force stays."""

        def sample(name: str) -> float:
            lines = api.client.get("/metrics").text.splitlines()
            return float(next(line.rpartition(" ")[2] for line in lines if line.startswith(f"{name} ")))

        before = sample('liverouter_reload_total{result="rejected"}')
        assert api.put(settings={"llm_provider": "nobody"}).status_code == 200
        wait_until(lambda: sample('liverouter_reload_total{result="rejected"}') == before + 1)
        assert (sample("liverouter_revision"), sample("liverouter_desired_revision")) == (1, 2)

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

    def test_openapi_names_every_route(self, api: Api) -> None:
        """The document lists what there is, for other UIs."""
        paths = api.get("/api/openapi.json")["paths"]
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

    def test_stream_that_cannot_be_begun_says_so_and_goes_on(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        """An error in what a page needs at first is told there and in the log; the stream stays."""
        failing = [True]

        async def broken(_: Fleet) -> dict[str, Any]:
            if failing:
                raise RuntimeError("unforeseen")
            return await head(_)

        head = Fleet.head
        with monkeypatch.context() as patch:
            patch.setattr(Fleet, "head", broken)
            with api.events() as events:
                kind, hello = next(events)
                assert (kind, hello["database"]["code"], hello["status"]["state"]) == ("hello", "LR699", "live")
                failing.clear()
                until(events, "instances", lambda data: data["changed"])
        assert "/api/events: RuntimeError: unforeseen" in api.reports
        api.reports.clear()  # the watch meets the error, too

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
