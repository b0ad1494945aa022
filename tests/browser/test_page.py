"""What the page promises whatever it shows: accessible, quick, small, guarded, and honest when things are lost."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import expect

from liverouter.daemon import service
from liverouter.postgres import migrate
from liverouter.secrecy.sealing import generate_key
from tests.browser.conftest import KEYS, profile, sign_in
from tests.browser.settings import Settings
from tests.kit.daemon import Daemon, reserved_port
from tests.kit.http import Api

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from tests.browser.conftest import World

pytestmark = pytest.mark.timeout(300)  # seconds, on a busy machine

_MOST_BYTES: Final = 110_000
_MOST_BYTES_OF_ONE: Final = 12_000  # read in one sitting
_USEFUL_MS: Final = 300
_FILTERING_MS: Final = 500
_TRIES: Final = 5  # of which the best counts
_MOST_STOPS: Final = 80
_FLEET: Final = 500
_MOST_NOTICES: Final = 6
_FILTERING: Final = """() => {
    const began = performance.now();
    document.querySelector("#fleet-filter").dispatchEvent(new Event("input"));
    document.querySelector("#fleet").offsetHeight;
    return performance.now() - began;
}"""
_PLACES: Final = {
    "settings.llm:": "Model without a name",
    "settings.llm:Fast": "Fast",
    "settings.llm:fast.temperature": "fast, Temperature",
    "settings.llm:fast.fallbacks[0].model": "fast, fallback 1, Model",
    "settings.llm_fallback_config[1].provider": "fallback 2, Provider",
    "settings.llm_temperature": "Temperature",
    "fast, openai/gpt-4o#1a2b3c4d": "fast, openai/gpt-4o",
    "secrets.openai_api_key": "key OpenAI: API key",
}
_STOP: Final = """() => {
    const stop = document.activeElement, bar = document.querySelector("#bar");
    const at = stop.getBoundingClientRect(), top = bar.getBoundingClientRect();
    const covered = !bar.contains(stop) && document.querySelector("#config").contains(stop) && at.bottom > top.top;
    const name = stop.ariaLabel || stop.labels?.[0]?.textContent || stop.textContent || stop.id;
    return [name, getComputedStyle(stop).outlineStyle, covered];
}"""


class TestAccessibility:
    def test_axe_finds_no_serious_fault(self, settings: Settings) -> None:
        """With problems and with its dialog open: axe has nothing serious to say; see `test_states`."""
        page = settings.page
        settings.card(0).get_by_text("More", exact=True).click()
        settings.card(0).get_by_label("Base URL").fill("nowhere")
        page.get_by_text("Failover", exact=True).click()
        settings.press("Check")
        expect(page.locator("[aria-invalid]")).to_have_count(1)
        check_with_axe(page, "with a problem")
        settings.press("Save")
        expect(page.get_by_role("dialog")).to_be_visible()
        page.emulate_media(color_scheme="dark")
        check_with_axe(page, "dialog")

    def test_focus_is_seen_wherever_it_goes(self, settings: Settings) -> None:
        """Tab leads through the whole page: each stop has an outline, and the bar at the bottom covers none of them."""
        page = settings.page
        page.set_viewport_size({"width": 1000, "height": 500})
        settings.temperature().fill("0.2")  # what is not saved can be
        page.get_by_role("link", name="Skip").focus()
        stops = []
        while "Metrics" not in stops:
            page.keyboard.press("Tab")
            name, outline, is_covered = page.evaluate(_STOP)
            assert (outline, is_covered) == ("solid", False), name
            stops.append(name)
            assert len(stops) < _MOST_STOPS
        assert {"Check", "Save", "Ask", "Add a fallback", "Remove: fallback 1"} <= set(stops)


def check_with_axe(page: Page, state: str, **options: Any) -> None:
    """Fail with what axe finds serious or critical once nothing moves; *options* are those of its `run`."""
    page.evaluate("document.getAnimations().forEach((moves) => moves.finish())")
    found = Axe().run(page, options={"resultTypes": ["violations"], **options}).response["violations"]
    serious = [
        (fault["id"], node["html"], node.get("failureSummary"))
        for fault in found
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]
    assert serious == [], state


class TestWeight:
    def test_all_files_together_are_small(self) -> None:
        """Everything that the page is made of stays under 110 kB, unpacked, and each file fits one sitting."""
        sizes = [path.stat().st_size for path in Path(service.__file__).with_name("page").iterdir()]
        assert sum(sizes) < _MOST_BYTES
        assert max(sizes) < _MOST_BYTES_OF_ONE

    def test_every_setting_has_its_label(self, settings: Settings) -> None:
        """What holds for every call is named in an admin's words."""
        page = settings.page
        page.get_by_text("Failover", exact=True).click()
        page.get_by_text("Watching", exact=True).click()
        expect(page.locator(".common label, #routing label, #watching label")).to_have_text(
            [
                "Temperature",
                "Longest answer (tokens)",
                "Further parameter",
                "One engine for all providers",
                "Tries",
                "Allowed failures",
                "Pause (seconds)",
                "Timeout of an attempt (seconds)",
                "Name in traces and metrics",
                "Check that streams are whole",
                "Ask idle deployments (hours)",
                "Send alerts to",
            ]
        )

    def test_place_of_a_problem_is_in_words(self, settings: Settings) -> None:
        """Whatever name a row has that somebody wrote by hand."""
        place_of = "places => import('/page/words.js').then(words => places.map(words.placeOf))"
        assert settings.page.evaluate(place_of, list(_PLACES)) == list(_PLACES.values())

    def test_no_provider_is_favoured(self, settings: Settings) -> None:
        """A new fallback is of a provider whose key is there and that is not in use yet, or is to be chosen."""
        while settings.card(1).count():
            settings.card(1).get_by_role("button", name="Remove: fallback").click()
        for provider in ("openai", ""):
            settings.press("Add a fallback")
            last = settings.page.locator("[data-card]:visible").last
            expect(last.get_by_label("Provider")).to_have_value(provider)
        settings.press("Discard")

    def test_equal_order_is_no_fallback(self, settings: Settings) -> None:
        """Between two cards stands what becomes of calls, as soon as it is typed; the focus stays."""
        between = "card => getComputedStyle(card, '::before').content"
        card = settings.card(1)
        assert card.evaluate(between) == '"if it cannot answer"'
        card.get_by_text("More", exact=True).click()
        order = card.get_by_label("Order")
        order.fill("1")
        assert card.evaluate(between) == '"shares the calls"'
        expect(order).to_be_focused()
        order.fill("2")
        assert card.evaluate(between) == '"if it cannot answer"'
        settings.press("Discard")

    def test_useful_at_once(self, settings: Settings, world: World) -> None:
        """Until the form can be used the page asks its own daemon alone, and works for less than 300 ms.

        That is CPU of its thread, as nobody knows how long it waits for that on a busy machine.
        """
        page, asked = settings.page, list[str]()
        page.on("request", lambda request: asked.append(request.url))
        devtools = page.context.new_cdp_session(page)
        devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
        worked_ms: list[float] = []
        while len(worked_ms) < _TRIES and not any(0 < one < _USEFUL_MS for one in worked_ms):
            page.goto(world.url)
            expect(page.locator("#models select").first).to_be_visible()
            metrics = devtools.send("Performance.getMetrics")["metrics"]  # of this document
            worked_ms += [float(metric["value"]) * 1000 for metric in metrics if metric["name"] == "TaskDuration"]
        devtools.detach()
        assert 0 < min(worked_ms) < _USEFUL_MS, worked_ms
        assert [url for url in asked if not url.startswith(world.url)] == []


class TestFleet:
    def test_lists_five_hundred_processes(self, dsn: str, page: Page) -> None:
        """With 500 processes the list is complete, can be filtered, and a change shows at once on one of them."""
        with Api(dsn, secret_keys=generate_key()) as api, psycopg.connect(dsn, autocommit=True) as connection:
            reports = [
                {
                    "instance": f"00000000-0000-4000-8000-{number:012}",
                    "key": f"{number:032}",
                    "app": f"app-{number % 7}",
                    "host": f"node-{number}",
                    "pid": number,
                    "state": "initializing",
                    "mode": "listen",
                }
                for number in range(_FLEET)
            ]
            connection.execute("SELECT liverouter.report(r) FROM jsonb_array_elements(%s) r", [json.dumps(reports)])
            Settings(page, api)
            expect(page.locator("#fleet li")).to_have_count(_FLEET + 1)
            page.get_by_label("Filter processes").fill("node-321")
            expect(page.locator("#fleet li:visible")).to_have_count(1)
            page.get_by_label("Filter processes").fill("")
            assert min(page.evaluate(_FILTERING) for _ in range(_TRIES)) < _FILTERING_MS
            connection.execute("INSERT INTO liverouter.settings VALUES ('llm_temperature', '1')")
            expect(page.locator("#fleet-sum")).to_contain_text("on revision 1")
            # One trouble of so many is one notice, not a page of them: they have started, and never went on.
            connection.execute("UPDATE liverouter.processes SET started_at = started_at - interval '1 hour'")
            connection.execute("INSERT INTO liverouter.settings VALUES ('llm_max_tokens', '1')")
            expect(page.locator("#problems")).to_contain_text(" more:")
            assert page.locator("#problems .notice").count() < _MOST_NOTICES
            page.goto("about:blank")  # which asks nobody, once the server has ended


class TestLoss:
    def test_daemon_that_ends_is_missed_and_found_again(self, dsn: str, browser: Browser, tmp_path: Path) -> None:
        """The page says that the daemon is gone, keeps the edits, asks for the token, and goes on."""
        environment = {"LIVEROUTER_DATABASE_URL": dsn, "LIVEROUTER_SECRET_KEYS": generate_key()}
        with reserved_port() as port, profile(browser) as context:
            with Daemon("--port", str(port), log=tmp_path / "1.log", **environment) as daemon:
                settings = Settings(context.new_page(), daemon)
                expect(settings.process("liverouter")).to_be_visible()
                settings.card(0).get_by_label("Model").fill("kept")
            page = settings.page
            expect(page.locator("#alarm")).to_contain_text(
                "The server of this page does not answer: all below is of then"
            )
            expect(page.locator("#state")).to_have_text(re.compile(r"Connection lost at \d\d:\d\d:\d\d"))
            expect(settings.bar).to_contain_text("what is stored and served now is not known; 1 unsaved change: Model")
            with Daemon("--port", str(port), log=tmp_path / "2.log", **environment):
                expect(page.get_by_label("Admin token")).to_be_visible()  # a session ends with the process
                page.get_by_label("Admin token").fill(daemon.token)
                page.keyboard.press("Enter")
                expect(page.locator("#alarm")).to_be_empty()
                expect(settings.bar).to_have_text("1 unsaved change: Model")
                expect(page.locator("#state")).to_have_text("Not serving yet")
                expect(settings.card(0).get_by_label("Model")).to_have_value("kept")

    def test_silent_connection_is_told_as_lost(self, world: World, browser: Browser) -> None:
        """A server that says nothing any more is as good as gone: the page says since when, and goes on after that."""
        world.set_up()
        with profile(browser) as context:
            page = context.new_page()
            page.clock.install()
            settings = Settings(page, world)
            expect(settings.process("liverouter")).to_be_visible()
            with world.api.held():
                page.clock.fast_forward(60_000)
                expect(page.locator("#alarm")).to_contain_text("Connection lost at")
                expect(settings.bar).to_contain_text("Connection lost at")
            page.clock.fast_forward(10_000)
            expect(page.locator("#alarm")).to_be_empty()
            expect(settings.bar).to_have_text("Everything is saved")

    def test_lost_keyring_is_asked_for(self, dsn: str, page: Page) -> None:
        """Where keys are stored, nobody is told to make a new keyring: that would open none of them."""
        with Api(dsn, secret_keys=generate_key()) as api:
            api.put(secrets={"openai_api_key": KEYS["openai"]})
        with Api(dsn) as api:
            Settings(page, api)
            expect(page.locator("#no-keyring")).to_contain_text("It needs the keyring that sealed the stored keys")
            page.goto("about:blank")

    def test_empty_database_says_what_to_run(self, empty_dsn: str, page: Page) -> None:
        """On a database without the schema the page says what to run, and starts by itself once that was done."""
        with Api(empty_dsn) as api:
            sign_in(page.context, api)
            page.goto(api.url)
            expect(page.locator("#problems")).to_contain_text("liverouter migrate")
            migrate.upgrade(empty_dsn, echo=lambda _: None)
            expect(page.get_by_role("heading", name="Set up your first model")).to_be_visible()
            expect(page.get_by_text("Keys cannot be stored")).to_be_visible()
            page.goto("about:blank")


class TestSignIn:
    def test_token_is_asked_for_once(self, world: World, browser: Browser) -> None:
        """The page asks for the token, refuses a wrong one, and remembers the right one until signed out.

        A session that ends while something is edited costs nothing: after signing in the edits are there.
        """
        with profile(browser) as context:
            page = context.new_page()
            page.goto(world.url)
            page.get_by_label("Admin token").fill("wrong")
            page.get_by_role("button", name="Sign in").click()
            expect(page.get_by_role("alert")).to_contain_text("The token is wrong")
            page.get_by_label("Admin token").fill(world.token)
            page.keyboard.press("Enter")
            expect(page.get_by_role("heading", name="Configuration")).to_be_visible()
            settings = Settings(page, world)  # which loads it anew
            model = settings.card(0).get_by_label("Model")
            model.fill("kept")
            assert context.request.delete(f"{world.url}/api/session", max_retries=3).status == 204
            page.get_by_label("Admin token").fill(world.token)  # it checks the edit by itself, and learns of it
            page.keyboard.press("Enter")
            expect(page.get_by_role("heading", name="Configuration")).to_be_visible()
            expect(model).to_have_value("kept")
            settings.press("Discard")
            page.get_by_role("button", name="Sign out").click()
            expect(page.get_by_label("Admin token")).to_be_visible()

    def test_printed_address_signs_in(self, world: World, browser: Browser) -> None:
        """The address that `serve` prints opens the page; its token is sent in no address, and stays in none.

        Opened where the page is open already, it signs in there; one with a wrong token is refused with a reason.
        """
        asked: list[str] = []
        with profile(browser) as context:
            page = context.new_page()
            page.on("request", lambda request: asked.append(f"{request.url} {request.headers}"))
            page.goto(f"{world.url}/#token={world.token}")
            expect(page.get_by_role("heading", name="Configuration")).to_be_visible()
            assert page.url == f"{world.url}/"
            assert page.evaluate("history.length") <= 2  # the empty tab, and the page
            assert world.token not in " ".join(asked)
            assert world.token not in page.content()
            stored = "JSON.stringify([localStorage, sessionStorage, document.cookie, performance.getEntries()])"
            assert world.token not in page.evaluate(stored).replace(f"#token={world.token}", "", 1)
            page.reload()
            expect(page.get_by_role("heading", name="Configuration")).to_be_visible()
            page.get_by_role("button", name="Sign out").click()
            expect(page.get_by_label("Admin token")).to_be_visible()
            page.goto(f"{world.url}/#token=wrong")
            expect(page.get_by_role("alert")).to_contain_text("The token is wrong")
            assert page.url == f"{world.url}/"
            page.goto(f"{world.url}/#token={world.token}")
            expect(page.get_by_role("heading", name="Configuration")).to_be_visible()
            assert page.url == f"{world.url}/"
