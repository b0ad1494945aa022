"""Whatever state it is in: axe finds nothing serious, nothing is wider than a phone, and no command has to be known."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

import pytest

from tests.browser.states import PHONE, WIDE, every_state
from tests.browser.test_page import check_with_axe

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.timeout(600)  # seconds; all states in one sitting

_OVERFLOW: Final = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
_GROUND: Final = "getComputedStyle(document.body).backgroundColor"
# How light each kind of call in the chart is, least first: 0 to 255, as without its hue.
_GREYS: Final = """[...document.querySelectorAll("#chart rect[class]")].map((bar) => {
    const [red, green, blue] = getComputedStyle(bar).fill.match(/[0-9]+/g).map(Number);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}).sort((a, b) => a - b)"""
_SAYS: Final = ".notice, .fault, .verdict, .health, .help, label, #bar, #history, #answer, #state"
_COLOURFUL: Final = ("history", "refused", "asked", "database-lost", "sign-in")  # no other has a colour more
_NOT_SAID: Final = ("litellm", "liverouter set", "liverouter check", "liverouter show", " utc", "'params'", ".;", ".)")


def are_told_apart(page: Page, state: str) -> None:
    """Fail where two kinds of calls in the chart are the same to whoever sees no colours, or a page that is greyed."""
    greys = sorted({round(grey) for grey in page.evaluate(_GREYS)})
    assert all(lighter - darker >= 30 for darker, lighter in pairwise(greys)), (state, greys)


def judge(page: Page, state: str) -> None:
    """Judge the page as it is in *state*: as on a phone, or light and dark where it has colours of its own.

    To judge contrast takes axe twice the time of all the rest.
    """
    text = " ".join(page.locator(_SAYS).all_inner_texts()).lower()
    assert [word for word in _NOT_SAID if word in text] == [], state
    if state in _COLOURFUL:
        check_with_axe(page, f"{state}, light")
    light = page.evaluate(_GROUND)
    are_told_apart(page, state)
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(_GROUND) != light
    are_told_apart(page, state)
    if state in _COLOURFUL:
        check_with_axe(page, f"{state}, dark", runOnly=["color-contrast"])
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(PHONE)
    assert page.evaluate(_OVERFLOW) == 0, state
    if state not in _COLOURFUL:
        check_with_axe(page, f"{state}, on a phone", rules={"color-contrast": {"enabled": False}})
    page.set_viewport_size(WIDE)


def test_every_state_can_be_read_by_everybody(dsn: str, browser: Browser) -> None:
    """From nothing configured over an outage, a refused head and a lost database to a lost connection."""
    every_state(dsn, browser, judge)
