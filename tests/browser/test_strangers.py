"""What the page does with what strangers report: it shows it as text, and goes on showing everybody else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import psycopg
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import KEYS
from tests.browser.settings import Settings, set_up

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.conftest import World

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


class TestStrangers:
    def test_rows_of_strangers_hide_nobody_and_are_text(self, world: World, page: Page) -> None:
        """The honest processes stand in the list, the chart is drawn, and markup is shown as it was written."""
        settings = Settings(page, world)
        set_up(settings, world, KEYS["anthropic"])
        settings.press("Save")
        expect(page.locator("#saved")).to_contain_text("Revision 1 by postgres")
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
