"""Several models on the page: added, copied, renamed, removed, checked and tried by name; no edit is lost."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest
from playwright.sync_api import expect
from psycopg.types.json import Jsonb

from liverouter.secrecy.sealing import generate_key
from liverouter.testing import Failure, StandIn
from tests.browser.conftest import KEYS, restore
from tests.browser.settings import Settings
from tests.kit.http import Api

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.timeout(300)  # seconds

FAST: Final[dict[str, Any]] = {
    "provider": "openai",
    "model": "gpt-4o-mini",
    "fallbacks": [{"provider": "openai", "model": "gpt-4.1"}],
}


@pytest.fixture(scope="module")
def openai() -> Iterator[StandIn]:
    """A provider that knows one key."""
    with StandIn("openai", accept_keys=[KEYS["openai"]]) as standin:
        yield standin


@pytest.fixture(scope="module")
def database(new_database: Callable[[str], AbstractContextManager[str]]) -> Iterator[str]:
    """The module's database."""
    with new_database("names") as dsn:
        yield dsn


@pytest.fixture(scope="module")
def api(database: str) -> Iterator[Api]:
    """A server on it."""
    with Api(database, secret_keys=generate_key(), app="liverouter") as api:
        yield api


@pytest.fixture
def settings(api: Api, openai: StandIn, page: Page) -> Settings:
    """Its page: the default, and a model "fast" with a fallback."""
    openai.heal()
    rows: dict[str, Any] = {"llm_provider": "openai", "llm_model": "gpt-4o", "openai_api_base": openai.api_base}
    restore(api, rows | {"llm:fast": FAST}, {"openai_api_key": KEYS["openai"]})
    return Settings(page, api)


@pytest.fixture
def first(settings: Settings, api: Api) -> int:  # noqa: ARG001 - which stores the rows first
    """The revision of the page before anything is saved."""
    return int(api.get("/api/config")["revision"])


def tab(settings: Settings, name: str) -> Locator:
    """The tab of a model, whatever it says beside its name."""
    return settings.page.locator(f"#tab-{name}")


def name_it(settings: Settings, name: str, verb: str) -> None:
    """Answer the dialog that asks for a name."""
    dialog = settings.page.get_by_role("dialog")
    dialog.get_by_label("Name", exact=True).fill(name)
    dialog.get_by_role("button", name=verb, exact=True).click()


def stored(api: Api) -> dict[str, Any]:
    """Return the rows of named models."""
    return {key: row for key, row in api.get("/api/config")["settings"].items() if key.startswith("llm:")}


class TestNames:
    def test_models_come_and_go_as_one_revision_each(self, settings: Settings, api: Api, first: int) -> None:
        """A copy, a new name for it, and its end: each is one save, and one line of the history."""
        page = settings.page
        tab(settings, "fast").click()
        expect(settings.card(0).get_by_label("Model")).to_have_value("gpt-4o-mini")
        settings.press("Copy fast")
        name_it(settings, "summary", "Add")
        expect(tab(settings, "summary")).to_have_attribute("aria-selected", "true")
        expect(settings.card(1).get_by_label("Model")).to_have_value("gpt-4.1")
        settings.card(0).get_by_label("Model").fill("gpt-4.1-nano")
        expect(settings.bar).to_have_text("1 unsaved change: Model “summary”")
        settings.press("Save")
        expect(settings.bar).to_have_text(f"Saved as revision {first + 1}")
        assert stored(api) == {"llm:fast": FAST, "llm:summary": FAST | {"model": "gpt-4.1-nano"}}

        settings.press("Rename summary")
        name_it(settings, "brief", "Rename")
        settings.press("Save")
        expect(settings.bar).to_have_text(f"Saved as revision {first + 2}")
        assert stored(api) == {"llm:fast": FAST, "llm:brief": FAST | {"model": "gpt-4.1-nano"}}
        expect(page.locator("#history li").first).to_contain_text("Model “brief”, Model “summary”")

        settings.press("Remove brief")
        expect(tab(settings, "default")).to_have_attribute("aria-selected", "true")
        tab(settings, "fast").click()
        settings.press("Remove fast")
        expect(page.locator("#tabs")).to_be_hidden()  # the default alone: as ever
        settings.press("Save")
        expect(settings.bar).to_have_text(f"Saved as revision {first + 3}")
        assert stored(api) == {}

    def test_name_that_cannot_be_is_not_added(self, settings: Settings) -> None:
        """One that is taken, or that no application can ask for; Escape adds none."""
        page = settings.page
        for name in ("fast", "default", "Fast", "9"):
            settings.press("Add a model")
            name_it(settings, name, "Add")
            expect(page.locator("#dialog input:invalid")).to_have_count(1)
            page.keyboard.press("Escape")
        expect(settings.bar).to_have_text("Everything is saved")
        expect(page.get_by_role("tab")).to_have_count(2)

    def test_copy_of_the_default_serves_as_that_does(self, settings: Settings, api: Api, first: int) -> None:
        """Its rows become members, what its provider's fields say is shared."""
        settings.page.locator(".common:visible").get_by_label("Temperature").fill("0.5")
        settings.press("Add a model")
        settings.page.get_by_role("dialog").get_by_label("Copy from").select_option("default")
        name_it(settings, "same", "Add")
        settings.press("Save")
        expect(settings.bar).to_have_text(f"Saved as revision {first + 1}")
        row = {"provider": "openai", "model": "gpt-4o", "temperature": 0.5, "fallbacks": None}
        assert stored(api)["llm:same"] == row
        assert api.post("/api/try", prompt="hi", name="same")["answer"] == "gpt-4o says: hi"

    def test_problem_is_shown_beside_the_field_of_its_name(self, settings: Settings, api: Api, first: int) -> None:
        """On the tab, too; and a save leads there."""
        tab(settings, "fast").click()
        settings.card(1).get_by_text("More", exact=True).click()
        settings.card(1).get_by_label("Temperature").fill("9")
        fault = settings.card(1).locator(".fault:visible")
        expect(fault).to_have_text("The number is out of range. Choose a number from 0 to 2. ")
        tab(settings, "default").click()
        expect(tab(settings, "fast")).to_have_attribute("aria-label", "fast, 1 to mend")
        settings.press("Save")
        settings.press("Go back")
        expect(settings.card(1).get_by_label("Temperature")).to_be_focused()
        settings.press("Discard")
        api.put(settings={"llm:fast": FAST | {"fallbacks": {"provider": "openai", "model": "gpt-4o", "weight": -1}}})
        expect(settings.card(1).locator(".fault:visible")).to_contain_text("The number is out of range")
        expect(settings.page.locator("#alarm")).to_contain_text(f"on with revision {first}")

    def test_row_that_is_no_model_can_be_mended(self, settings: Settings, database: str) -> None:
        """Text where a model belongs has its tab and its Problem, a null is none; nothing counts as edited."""
        with psycopg.connect(database, autocommit=True) as connection:
            rows = "('llm:odd', '\"gpt-4o\"'), ('llm:none', 'null'), ('llm_temperature', 'null')"
            connection.execute(f"INSERT INTO liverouter.settings VALUES {rows}")
        expect(settings.page.get_by_role("tab")).to_have_count(3)
        tab(settings, "odd").click()
        expect(settings.card(0).locator(".fault:visible")).to_contain_text("Text stands where an object belongs")
        expect(settings.bar).to_have_text("Everything is saved")
        settings.card(0).get_by_label("Provider").select_option(label="OpenAI")
        expect(settings.bar).to_have_text("1 unsaved change: Model “odd”")

    def test_row_that_no_name_fits_breaks_nothing(self, settings: Settings, database: str) -> None:
        """SQL stores it; it is told, has no tab, does not count as edited, and no edit takes it along."""
        odd = ("llm:default", 'llm:a"]b', "llm:a.b", "llm:")
        with psycopg.connect(database, autocommit=True) as connection:
            for key in odd:
                connection.execute("INSERT INTO liverouter.settings VALUES (%s, %s)", (key, Jsonb(FAST)))
            try:
                expect(settings.page.locator("#problems")).to_contain_text("'llm:default' is not a setting")
                settings.page.reload()
                expect(settings.page.get_by_role("tab")).to_have_count(2)
                expect(settings.bar).to_have_text("Everything is saved")
                settings.card(0).get_by_label("Model").fill("gpt-4.1")
                expect(settings.bar).to_have_text("1 unsaved change: Model")
            finally:
                connection.execute("DELETE FROM liverouter.settings WHERE key = ANY(%s)", (list(odd),))

    def test_missing_key_is_marked_at_the_key(self, settings: Settings) -> None:
        """And not at the provider: of a fallback as of the primary of a named model."""
        tab(settings, "fast").click()
        card = settings.card(1)
        card.get_by_label("Provider").select_option(label="Anthropic")
        card.get_by_label("Model").fill("claude-haiku-4-5")
        settings.press("Check")
        expect(card.get_by_label("API key")).to_have_attribute("aria-invalid", "true")
        fault = card.locator(".field", has=settings.page.get_by_label("API key")).locator(".fault")
        expect(fault).to_have_text("Anthropic needs “Anthropic: API key”. Enter it here. ")

    def test_parameters_are_those_that_the_provider_takes(self, settings: Settings, api: Api, first: int) -> None:
        """Added from a list, each with a control of its kind; a fallback may have its own."""
        tab(settings, "fast").click()
        common = settings.page.locator(".common:visible")
        common.get_by_label("Further parameter").select_option("Verbosity")
        common.get_by_label("Verbosity", exact=True).select_option("low")
        common.get_by_label("Further parameter").select_option("Seed")
        common.get_by_label("Seed", exact=True).fill("7")
        settings.card(1).get_by_text("More", exact=True).click()
        settings.card(1).get_by_label("Further parameter").select_option("Stop")
        settings.card(1).get_by_label("Stop", exact=True).fill("one\ntwo")
        settings.press("Save")
        expect(settings.bar).to_have_text(f"Saved as revision {first + 1}")
        row = stored(api)["llm:fast"]
        assert row["params"] == {"verbosity": "low", "seed": 7}
        assert row["fallbacks"][0]["params"] == {"stop": ["one", "two"]}
        common.get_by_role("button", name="Remove parameter Seed").click()
        settings.press("Save")
        expect(settings.bar).to_have_text(f"Saved as revision {first + 2}")
        assert stored(api)["llm:fast"]["params"] == {"verbosity": "low"}

    def test_two_admins_edit_one_model(self, settings: Settings, api: Api, first: int) -> None:
        """Whoever saves second sees both, and keeps what the other changed beside the own edit."""
        tab(settings, "fast").click()
        settings.card(0).get_by_label("Model").fill("gpt-4.1-mini")
        api.put(settings={"llm:fast": FAST | {"temperature": 0.9}}, author="Bert")
        expect(settings.page.locator("#problems")).to_contain_text(f"Revision {first + 1} was saved meanwhile")
        settings.press("Save")
        dialog = settings.page.get_by_role("dialog")
        expect(dialog.locator("tr").filter(has_text="changed by both")).to_contain_text("gpt-4.1-mini")
        expect(dialog.locator("tr").filter(has_text="Temperature")).to_contain_text("0.9")
        settings.press("Keep my edits")
        settings.press("Save")
        expect(settings.bar).to_have_text(f"Saved as revision {first + 2}")
        assert stored(api)["llm:fast"] == FAST | {"model": "gpt-4.1-mini", "temperature": 0.9}

    def test_check_and_try_ask_the_chosen_one(self, settings: Settings, openai: StandIn) -> None:
        """Check asks the deployments of the model that is shown; a try one model, or one deployment alone."""
        page, before = settings.page, openai.hits
        tab(settings, "fast").click()
        settings.press("Check")
        expect(settings.card(1).locator(".verdict")).to_contain_text("Answered in")
        expect(settings.bar).to_contain_text("2 deployments answered at")
        assert openai.hits == before + 2
        page.get_by_label("Which model").select_option("fast")
        page.get_by_label("Which deployment").select_option(label="2. openai/gpt-4.1 alone")
        answer = settings.ask("Who?")
        expect(answer).to_contain_text("gpt-4.1 says: Who?")
        expect(answer.locator(".facts")).to_contain_text("fast")
        openai.fail(Failure.REFUSED)
        settings.ask("And now?")
        expect(answer).to_contain_text("connection refused by 127.0.0.1")
        settings.press("Check")
        expect(settings.card(0).locator(".verdict")).to_contain_text("connection refused by 127.0.0.1")

    def test_answer_is_read_while_it_comes_and_can_be_stopped(self, settings: Settings, openai: StandIn) -> None:
        """The first words are there before the last; Stop lets the provider go."""
        gone = openai.disconnects
        with openai.hold(after_chunks=1):
            answer = settings.ask("Who?")
            expect(answer).to_contain_text("gpt-4o")
            settings.press("Stop")
            expect(answer).to_contain_text("Stopped")
            openai.wait_disconnects(gone + 1, 60.0)
        expect(settings.ask("Who?")).to_contain_text("gpt-4o says: Who?")

    def test_tabs_are_worked_by_keys(self, settings: Settings) -> None:
        """Arrows go round, and the panel follows."""
        tab(settings, "default").focus()
        settings.page.keyboard.press("ArrowRight")
        expect(tab(settings, "fast")).to_be_focused()
        expect(settings.card(0).get_by_label("Model")).to_have_value("gpt-4o-mini")
        settings.page.keyboard.press("ArrowRight")
        expect(tab(settings, "default")).to_be_focused()


class TestHistory:
    def test_change_of_fallbacks_is_read_entry_by_entry(self, settings: Settings, api: Api, first: int) -> None:
        """Not as two pieces of JSON; the row says who and why, and its button whether it is open."""
        page = settings.page
        old, new = FAST["fallbacks"][0], {"provider": "openai", "model": "gpt-4o"}
        row = FAST | {"fallbacks": [new, old | {"temperature": 0.3}]}
        api.save(settings={"llm:fast": row}, author="Anna", comment="two are better")
        item = page.locator(f"#revision-{first + 1}")
        expect(item).to_contain_text("two are better")
        opener = item.get_by_role("button", expanded=False)
        opener.click()
        expect(item.get_by_role("button", expanded=True)).to_be_focused()
        expect(item.locator("tbody tr")).to_have_text([
            re.compile(r"Model “fast” · Fallback 1 *not set *openai/gpt-4o$"),
            re.compile(r"Model “fast” · Fallback 2 · Temperature *not set *0\.3$"),
        ])  # fmt: skip

    def test_one_change_is_found_and_linked_to(self, settings: Settings, api: Api, first: int) -> None:
        """By what was changed, by whom and why; the address of one opens it."""
        page = settings.page
        api.save(settings={"litellm_cooldown_time": 30}, author="Carla", comment="calmer")
        api.save(settings={"litellm_num_retries": 3}, author="Dieter")
        found = {"carla": 1, "calm": 1, "pause": 1, "litellm_num_retries": 2, "dieter": 2}
        for words, later in found.items():
            page.get_by_label("Filter by what was changed").fill(words)
            expect(page.locator("#history > li:visible")).to_have_attribute("id", f"revision-{first + later}")
        page.goto(f"{api.url}/#revision={first + 1}")
        page.reload()
        expect(page.locator(f"#revision-{first + 1} table")).to_contain_text("Pause")
        expect(page.locator("#history table")).to_have_count(1)
        page.get_by_label("Filter by what was changed").fill("")
        page.locator("#revision-0").get_by_role("button", expanded=False).click()
        expect(page.locator("#revision-0")).to_contain_text("Nothing was stored yet")
        page.goto(f"{api.url}/#revision=99")
        expect(page.locator("#history-found")).to_contain_text("Revision 99 is not among the newest")
