"""What an admin typed is neither lost nor written over anybody unseen, however the moments fall."""

from __future__ import annotations

import contextlib
import re
import threading
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from playwright.sync_api import expect

from liverouter.secrecy.sealing import generate_key
from liverouter.testing import StandIn
from tests.browser.conftest import KEYS, World, profile
from tests.browser.settings import Settings
from tests.kit.http import Api

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page, Request, Route

pytestmark = pytest.mark.timeout(300)  # seconds, on a busy machine


def write(dsn: str, key: str, value: str) -> None:
    """Save as somebody else, with plain SQL; *value* is JSON."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO liverouter.settings (key, value) VALUES (%s, %s::jsonb)"
            " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            [key, value],
        )


def test_edits_of_many_hands(empty_world: World, page: Page) -> None:
    """Pressed twice, typed while it loads, rolled back over somebody's change: one page, in one sitting."""
    world = empty_world
    world.set_up()
    settings = Settings(page, world)
    save_twice(settings)
    type_while_it_loads(settings, world)
    select_while_it_loads(settings, world)
    type_on_when_it_has_loaded(settings, world)
    mistype_a_number(settings)
    roll_back_over_another_change(settings, world)
    page.goto("about:blank")  # which asks nobody, once the server has ended


def save_twice(settings: Settings) -> None:
    """A second Enter while it saves is none."""
    page, sent = settings.page, list[str]()

    def note(request: Request) -> None:
        if request.method == "PUT":
            sent.append(request.url)

    page.on("request", note)
    settings.temperature().fill("0.2")
    page.evaluate(
        "() => { const form = document.querySelector('#config'); form.requestSubmit(); form.requestSubmit() }"
    )
    expect(settings.bar).to_have_text("Saved as revision 2")
    expect(page.locator("#save")).to_have_text("Save")
    page.remove_listener("request", note)
    assert len(sent) == 1


@contextlib.contextmanager
def loading(settings: Settings, world: World, key: str, value: str) -> Iterator[None]:
    """Save as somebody else; until the block ends, the page waits for what it reads of that."""
    page, held = settings.page, threading.Event()
    routes: list[Route] = []

    def hold(route: Route) -> None:
        routes.append(route)
        held.set()

    page.route("**/api/config", hold)
    write(world.dsn, key, value)
    while not held.is_set():
        page.wait_for_timeout(20)  # lets the page's events come
    yield
    for route in routes:
        route.continue_()
    page.unroute("**/api/config", hold)


def type_while_it_loads(settings: Settings, world: World) -> None:
    """Somebody else saves, the page reads it, and what is typed in that moment stays."""
    with loading(settings, world, "llm_max_tokens", "300"):
        settings.temperature().fill("0.9")
    expect(settings.longest_answer()).to_have_value("300")
    expect(settings.temperature()).to_have_value("0.9")
    expect(settings.bar).to_contain_text("1 unsaved change: Temperature")


def select_while_it_loads(settings: Settings, world: World) -> None:
    """What was selected stays selected, so that the next key replaces it; in a number as in a text."""
    settings.press("Discard")
    expect(settings.bar).to_have_text("Everything is saved")
    model, temperature = settings.card(0).get_by_label("Model"), settings.temperature()
    for control, typed, limit in ((model, "claude-haiku-4-5", "340"), (temperature, "0.75", "350")):
        with loading(settings, world, "llm_max_tokens", limit):
            control.select_text()
        expect(settings.longest_answer()).to_have_value(limit)
        settings.page.keyboard.type(typed)
        expect(control).to_have_value(typed)
        settings.press("Discard")
        expect(settings.bar).to_have_text("Everything is saved")


def type_on_when_it_has_loaded(settings: Settings, world: World) -> None:
    """A number that is typed in part stays as it is typed, with its dot."""
    with loading(settings, world, "llm_max_tokens", "360"):
        settings.temperature().select_text()
        settings.page.keyboard.type("0.")
    expect(settings.longest_answer()).to_have_value("360")
    settings.page.keyboard.type("75")
    expect(settings.temperature()).to_have_value("0.75")
    settings.press("Discard")
    expect(settings.bar).to_have_text("Everything is saved")


def mistype_a_number(settings: Settings) -> None:
    """What is no number is told, not dropped."""
    settings.temperature().fill("0,5")
    expect(settings.bar).to_have_text("1 unsaved change: Temperature")
    expect(settings.page.locator(".common .fault").first).to_contain_text("Text stands where a number belongs")
    settings.temperature().fill("0.9")
    expect(settings.page.locator(".common .fault").first).to_be_hidden()


def roll_back_over_another_change(settings: Settings, world: World) -> None:
    """The differences are to what is stored, not to what the page holds; a later save is shown before it is undone."""
    page = settings.page
    write(world.dsn, "llm_max_tokens", "400")
    expect(page.locator("#problems")).to_contain_text("Revision 7 was saved meanwhile")
    expect(page.locator("#history li")).to_have_count(8)
    list_that_says_the_same_is_not_drawn_anew(settings)
    settings.press("Roll back to revision 1")
    dialog = page.get_by_role("dialog")
    expect(dialog.locator("tr").filter(has_text="Longest answer (tokens)")).to_contain_text("400")
    dialog.get_by_label("Why").fill("as it was")
    write(world.dsn, "llm_max_tokens", "500")
    settings.press("Roll back")
    expect(dialog).to_contain_text("Revision 8 was saved meanwhile")
    expect(dialog.locator("tr").filter(has_text="Longest answer (tokens)")).to_contain_text("500")
    expect(dialog.get_by_label("Why")).to_have_value("as it was")
    settings.press("Roll back")
    expect(settings.bar).to_have_text("Rolled back: revision 9")
    expect(settings.longest_answer()).to_have_value("")
    expect(settings.temperature()).to_have_value("0.9")  # the edit that was never saved
    expect(page.locator("#history li").first).to_contain_text("as it was")


def list_that_says_the_same_is_not_drawn_anew(settings: Settings) -> None:
    """A button that was replaced between the mouse's going down and up would not be clicked."""
    page, newest = settings.page, settings.page.locator("#history li").first
    newest.evaluate("(item) => { item.dataset.mark = 'it' }")
    with page.expect_response("**/api/revisions?limit=50"):
        settings.press("Check")
    page.evaluate("() => fetch('/api/revisions?limit=1').then((answer) => answer.json())")  # the page has read its own
    expect(settings.bar).to_contain_text("2 deployments answered at")
    assert newest.get_attribute("data-mark") == "it"


def test_failed_roll_back_says_so(settings: Settings) -> None:
    """What the database refuses is told where the admin looks."""
    settings.page.route("**/api/rollback", lambda route: route.fulfill(**refusal()))
    settings.press("Roll back to revision 0")
    settings.press("Roll back")
    expect(settings.bar).to_contain_text("The database is away")


def refusal() -> dict[str, Any]:
    """Return the answer of a daemon whose database is away."""
    problem = {
        "severity": "error",
        "code": "LR201",
        "where": "database",
        "message": "the database is away",
        "hint": "Wait",
    }
    return {"status": 503, "json": {"detail": problem["message"], "problems": [problem]}}


def test_fallbacks_of_the_environment(dsn: str, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are named, and checked with the others, though the form has no card for them."""
    with StandIn("anthropic") as first, StandIn("openai", accept_keys=["sk-another"]) as second:
        monkeypatch.setenv("LLM_FALLBACK_CONFIG", '{"provider": "openai", "model": "gpt-4o"}')
        monkeypatch.setenv("OPENAI_API_KEY", KEYS["openai"])
        monkeypatch.setenv("OPENAI_API_BASE", second.api_base)
        with Api(dsn, secret_keys=generate_key()) as daemon, profile(browser) as context:
            settings = Settings(context.new_page(), daemon)
            expect(settings.page.get_by_text("environment LLM_FALLBACK_CONFIG")).to_be_visible()
            settings.fill(
                0, provider="Anthropic", model="claude-sonnet-4-6", key=KEYS["anthropic"], base_url=first.api_base
            )
            settings.press("Check")
            expect(settings.card(0).locator(".verdict")).to_contain_text("Answered in")
            expect(settings.bar).to_have_text(re.compile(r"1 of 2 deployments did not answer at [\d:]+, gpt-4o"))


def test_changed_address_asks_for_the_key_again(settings: Settings, world: World) -> None:
    """A stored key is not sent where it was not stored for: with another address the page wants it once more."""
    card = settings.card(1)
    card.get_by_text("More", exact=True).click()
    expect(card.get_by_label("API key")).to_have_count(0)  # stored: its fingerprint is shown
    base = card.get_by_label("Base URL")
    base.fill("https://gateway.internal/v1")
    expect(card.get_by_text("Enter the key again: the stored one is not for https://gateway.internal")).to_be_visible()
    expect(card.get_by_text("was stored for OpenAI's own hosts")).to_be_visible()
    expect(base).to_be_focused()
    card.get_by_label("API key").fill(KEYS["openai"])
    expect(card.get_by_text("was stored for OpenAI's own hosts")).to_have_count(0)
    settings.press("Save")
    expect(settings.bar).to_contain_text("Saved as revision")
    expect(card.get_by_text("for https://gateway.internal")).to_be_visible()
    base.fill(world.openai.api_base)  # this machine may have every key
    expect(card.get_by_label("API key")).to_have_count(0)


def test_object_of_settings_is_typed_as_json(settings: Settings, world: World) -> None:
    """A card has its own: a fallback's is no row."""
    card, held = settings.card(1), "Its settings and secrets"
    card.get_by_label("Provider").select_option(label="Another provider, by litellm")
    card.get_by_label("Model").fill("groq/llama")
    card.get_by_label(held).fill('{"api_base": "http://127.0.0.1:9/v1"}')
    settings.press("Save")
    expect(settings.bar).to_contain_text("Saved as revision")
    with psycopg.connect(world.dsn, autocommit=True) as connection:
        stored: dict[str, Any] = dict(connection.execute("SELECT key, value FROM liverouter.settings").fetchall())
    assert stored["llm_fallback_config"][0]["litellm_params"] == {"api_base": "http://127.0.0.1:9/v1"}
    assert "litellm_params" not in stored
    settings.page.reload()
    expect(settings.card(1).get_by_label(held)).to_have_value('{\n "api_base": "http://127.0.0.1:9/v1"\n}')
