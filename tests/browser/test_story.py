"""The admin's story, played in a real browser against a real daemon, two real workers and stand-in providers."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

import psycopg
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import KEYS, World
from tests.browser.settings import Settings, set_up

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

pytestmark = pytest.mark.timeout(300)  # seconds, on a busy machine

_MARKUP: Final = "<img src=x onerror=alert(1)>\u202e\u0007"
_POISONS: Final[tuple[dict[str, object], ...]] = (
    {"since": "294276-12-31", "labels": {"a": 1}, "deployments": [{}], "problems": [{"code": "X"}]},
    {"last_error": {}, "usage": [{"deployment_id": _MARKUP, "role": "king", "cost_usd": "NaN", "calls": 1e300}]},
    {
        "app": _MARKUP,
        "host": _MARKUP,
        "problems": [{"message": _MARKUP, "severity": _MARKUP}],
        "applied_revision": 2**62,
    },
)


def test_admin_sets_up_checks_saves_conflicts_and_rolls_back(
    empty_world: World, page: Page, wait_until: Callable[..., None]
) -> None:
    """From an empty database to two live workers, through a wrong key, a failover, a conflict, and back."""
    world = empty_world
    settings = Settings(page, world)
    meet_an_empty_database(settings)
    set_up(settings, world, "sk-ant-wrong")
    check_finds_the_wrong_key(settings)
    save_anyway_and_fail_over(settings, world)
    replace_the_key(settings)
    wait_until(lambda: world.workers[0].chat_model().invoke("hi").text == "claude-sonnet-4-6 says: hi")
    expect(settings.ask("And now?")).to_contain_text("claude-sonnet-4-6 says: And now?")
    other = page.context.new_page()
    edit_in_two_tabs(settings, Settings(other, world))
    other.close()
    roll_back(settings)
    page.goto("about:blank")  # which asks nobody, once the server has ended


def meet_an_empty_database(settings: Settings) -> None:
    """What to do is said, and nobody is blamed yet."""
    page = settings.page
    expect(page.get_by_role("heading", name="Set up your first model")).to_be_visible()
    expect(settings.process("worker-1")).to_contain_text("waits for a config")
    expect(page.locator("[aria-invalid]")).to_have_count(0)


def check_finds_the_wrong_key(settings: Settings) -> None:
    """Check says so beside the deployment, before anything is saved."""
    settings.press("Check")
    expect(settings.card(0).locator(".verdict")).to_contain_text(
        "Check secret “Anthropic: API key”, and what it may use"
    )
    expect(settings.card(1).locator(".verdict")).to_contain_text("Answered in")
    expect(settings.bar).to_contain_text("1 of 2 deployments did not answer at")
    expect(settings.page.locator("#history li")).to_have_count(1)


def save_anyway_and_fail_over(settings: Settings, world: World) -> None:
    """Both workers turn to it before the admin's eyes, and calls go through the fallback."""
    page = settings.page
    page.get_by_label("Your name").fill("Anna")
    page.get_by_label("Why, for the history").fill("first config")
    settings.press("Save")
    expect(settings.bar).to_have_text("Saved as revision 1")
    for name in ("worker-1", "worker-2", "liverouter"):
        expect(settings.process(name)).to_contain_text(re.compile(r"revision 1, \d"))
    expect(page.locator("#fleet-sum")).to_have_text("3 of 3 on revision 1")
    assert [worker.chat_model().invoke("hi").text for worker in world.workers] == ["gpt-4o says: hi"] * 2
    answer = settings.ask("Who are you?")
    expect(answer).to_contain_text("gpt-4o says: Who are you?")
    expect(answer).to_contain_text("failed over")
    expect(page.locator("#serving")).to_contain_text("by failover")
    expect(page.locator("#chart svg")).to_have_attribute("aria-label", re.compile("answered by a fallback"))


def replace_the_key(settings: Settings) -> None:
    """The right key goes live like any other change; the stored one is shown as a fingerprint only."""
    expect(settings.card(0).locator(".stored")).to_contain_text("by Anna")
    settings.press("Replace anthropic_api_key")
    settings.card(0).get_by_label("API key").fill(KEYS["anthropic"])
    settings.press("Save")
    expect(settings.bar).to_have_text("Saved as revision 2")
    expect(settings.page.locator("#fleet-sum")).to_have_text("3 of 3 on revision 2")
    assert KEYS["anthropic"] not in settings.page.content()


def edit_in_two_tabs(settings: Settings, other: Settings) -> None:
    """The second to save is told, loses nothing, and overwrites nothing unseen."""
    page = settings.page
    settings.temperature().fill("0.2")
    other.temperature().fill("0.7")
    other.longest_answer().fill("500")
    other.press("Save")
    expect(other.bar).to_have_text("Saved as revision 3")
    expect(page.locator("#problems")).to_contain_text("Revision 3 was saved meanwhile")
    settings.press("Save")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Revision 3 came first")
    expect(dialog.locator("tr").filter(has_text="changed by both")).to_contain_text("0.2")
    settings.press("Keep my edits")
    expect(settings.temperature()).to_have_value("0.2")
    expect(settings.longest_answer()).to_have_value("500")
    settings.press("Save")
    expect(settings.bar).to_have_text("Saved as revision 4")
    expect(other.temperature()).to_have_value("0.2")


def roll_back(settings: Settings) -> None:
    """One click takes everything back to what Anna had, secrets included."""
    page = settings.page
    expect(page.locator("#history li")).to_have_count(5)
    settings.press("Roll back to revision 2")
    expect(page.get_by_role("dialog")).to_contain_text("Temperature")
    settings.press("Roll back")
    expect(settings.bar).to_have_text("Rolled back: revision 5")
    expect(settings.temperature()).to_have_value("")
    expect(page.locator("#fleet-sum")).to_have_text("3 of 3 on revision 5")
    expect(page.locator("#history li").first).to_contain_text("roll back: Longest answer (tokens), Temperature")


@pytest.fixture
def first(settings: Settings, world: World) -> int:
    """The revision that every process runs before anything is saved."""
    revision = int(world.api.get("/api/config")["revision"])
    expect(settings.page.locator("#fleet-sum")).to_have_text(f"3 of 3 on revision {revision}")
    return revision


def test_refusal_is_shown_with_its_reason(settings: Settings, world: World, first: int) -> None:
    """A config that cannot work is saved only on demand; each process shows that it keeps the old one, and why."""
    page = settings.page
    settings.card(0).get_by_label("Model").fill("")
    settings.press("Save")
    expect(page.get_by_role("dialog")).to_contain_text("“Model” is not set")
    settings.press("Go back")
    expect(settings.card(0).get_by_label("Model")).to_be_focused()
    expect(settings.card(0).locator(".fault:visible")).to_contain_text("“Model” is not set")
    settings.press("Save")
    settings.press("Save anyway")
    for name in ("worker-1", "worker-2", "liverouter"):
        expect(settings.process(name)).to_contain_text(f"keeps revision {first}")
        expect(settings.process(name)).to_contain_text("“Model” is not set")
    assert world.workers[0].chat_model().invoke("hi").text == "claude-sonnet-4-6 says: hi"


def test_key_in_a_plain_field_is_not_saved(settings: Settings) -> None:
    """What the database would refuse is marked while it is typed, and no dialog offers to save it anyway."""
    history = settings.page.locator("#history li")
    expect(history.first).to_be_visible()
    saved = history.count()
    settings.card(1).get_by_label("Model").fill(KEYS["openai"])
    fault = settings.card(1).locator(".fault:visible")
    expect(fault).to_contain_text("What looks like a key")
    settings.press("Check")
    expect(settings.bar).to_have_text("1 problem to mend")
    settings.press("Save")
    expect(settings.bar).to_have_text("Not saved: 1 problem to mend")
    expect(settings.page.get_by_role("dialog")).to_have_count(0)
    expect(settings.card(1).get_by_label("Model")).to_be_focused()
    expect(history).to_have_count(saved)
    settings.card(1).get_by_label("Model").fill("gpt-4o")
    expect(fault).to_have_count(0)


def test_change_by_plain_sql_appears_by_itself(settings: Settings, world: World, first: int) -> None:
    """What somebody writes in psql shows on the open page: the value, the history, the processes."""
    page = settings.page
    settings.longest_answer().fill("300")
    settings.press("Save")
    expect(settings.bar).to_have_text(f"Saved as revision {first + 1}")
    with psycopg.connect(world.dsn, autocommit=True) as connection:
        connection.execute("UPDATE liverouter.settings SET value = '\"claude-opus-4-6\"' WHERE key = 'llm_model'")
    expect(settings.card(0).get_by_label("Model")).to_have_value("claude-opus-4-6")
    expect(page.locator("#fleet-sum")).to_have_text(f"3 of 3 on revision {first + 2}")
    expect(page.locator("#history li").first).to_contain_text("Model")
    expect(page.locator("#saved")).to_contain_text(f"Revision {first + 2} by postgres")
    expect(settings.bar).to_have_text("Everything is saved")  # and no more as the revision before


def test_fallbacks_are_added_moved_and_removed_by_keyboard(settings: Settings) -> None:
    """The list of fallbacks is worked by keys alone; the focus stays with what was moved."""
    page = settings.page
    for model in ("one", "two"):
        page.get_by_role("button", name="Add a fallback").focus()
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")  # from the provider to the model
        page.keyboard.type(model)
    last = settings.card(3)
    expect(last.get_by_label("Model")).to_have_value("two")
    last.get_by_role("button", name="Move up").focus()
    page.keyboard.press("Enter")
    expect(settings.card(2).get_by_label("Model")).to_have_value("two")
    expect(settings.card(2).locator(":focus")).to_have_count(1)
    last.get_by_role("button", name="Remove").focus()
    page.keyboard.press("Enter")
    expect(last).to_have_count(0)
    settings.press("Discard")
    expect(settings.card(2)).to_have_count(0)
    expect(settings.bar).to_have_text("Everything is saved")


# The last one: nobody is to wait until strangers apply a revision.
def test_rows_of_strangers_hide_nobody_and_are_text(settings: Settings, world: World) -> None:
    """The honest processes stand in the list, the chart is drawn, and markup is shown as it was written."""
    page = settings.page
    with psycopg.connect(world.dsn, autocommit=True) as connection:
        for number, poison in enumerate(_POISONS):
            report = {
                "instance": f"00000000-0000-4000-8000-{number:012}",
                "key": f"{number:032}",
                "app": f"stranger-{number}",
                "state": "live",
                "mode": "listen",
            } | poison
            connection.execute("SELECT liverouter.report(%s::jsonb)", [json.dumps(report)])
        slip = "UPDATE liverouter.processes SET labels = '7', since = 'infinity' WHERE app = 'stranger-0'"
        connection.execute(slip)
    page.reload()
    expect(page.locator("#fleet li")).to_have_count(len(world.workers) + 1 + len(_POISONS))
    expect(page.locator("#fleet")).to_contain_text("<img src=x onerror=alert(1)>\ufffd\ufffd")
    assert page.locator("#fleet img").count() == 0
    expect(page.locator("#serving")).to_contain_text("anthropic/")
    expect(page.locator("#chart svg")).to_have_count(1)
