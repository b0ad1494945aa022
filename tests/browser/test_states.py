"""Whatever state it is in: axe finds nothing serious, nothing is wider than a phone, and no command has to be known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.browser.states import PHONE, WIDE, every_state
from tests.browser.test_page import check_with_axe

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.timeout(300)  # seconds; all states in one sitting

_OVERFLOW: Final = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
_GROUND: Final = "getComputedStyle(document.body).backgroundColor"
_SAYS: Final = ".notice, .fault, .verdict, .health, .help, label, #bar, #history, #answer, #state"
_NOT_SAID: Final = ("litellm", "liverouter set", "liverouter check", "liverouter show")
_IN_THE_DARK: Final = ("history", "down", "database-lost")  # which have all colours between them


def judge(page: Page, state: str) -> None:
    """Judge the page as it is in *state*."""
    check_with_axe(page, f"{state}, light")
    text = " ".join(page.locator(_SAYS).all_inner_texts()).lower()
    assert [word for word in _NOT_SAID if word in text] == [], state
    if state in _IN_THE_DARK:
        light = page.evaluate(_GROUND)
        page.emulate_media(color_scheme="dark")
        assert page.evaluate(_GROUND) != light
        check_with_axe(page, f"{state}, dark")
        page.emulate_media(color_scheme="light")
    page.set_viewport_size(PHONE)
    assert page.evaluate(_OVERFLOW) == 0, state
    page.set_viewport_size(WIDE)


def test_every_state_can_be_read_by_everybody(dsn: str, browser: Browser) -> None:
    """Nothing configured, live, several models, history, failed over, nothing answers, a refused head, no database."""
    every_state(dsn, browser, judge)
