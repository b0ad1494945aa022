"""Each state that the settings page can be in, one after the other.

`python -m tests.browser.states FOLDER` takes a picture of each, light, dark and as on a phone.
"""

from __future__ import annotations

import shutil
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg
from playwright.sync_api import expect, sync_playwright

from liverouter import LiveRouter
from liverouter.embedded.server import EmbeddedPostgres
from liverouter.postgres.migrate import upgrade
from liverouter.secrecy.sealing import generate_key
from liverouter.testing import Failure, StandIn
from tests.browser.conftest import KEYS, profile
from tests.browser.settings import Settings
from tests.kit.http import Api
from tests.kit.postgres.outage import cut_off, let_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Browser, Page

WIDE: Final[Any] = {"width": 1360, "height": 900}
PHONE: Final[Any] = {"width": 360, "height": 740}
_FAST: Final[dict[str, Any]] = {
    "provider": "openai",
    "model": "gpt-4o-mini",
    "temperature": 0.2,
    "params": {"top_p": 0.9, "verbosity": "low"},
    "fallbacks": [{"provider": "anthropic", "model": "claude-haiku-4-5"}],
}
_PLAN: Final = {"provider": "anthropic", "model": "claude-opus-4-6"}


def every_state(dsn: str, browser: Browser, look: Callable[[Page, str], None]) -> None:
    """Bring the page on the empty, migrated database *dsn* into each state, and have *look* look at it."""
    keys = generate_key()
    with ExitStack() as stack:
        openai, anthropic = (
            stack.enter_context(StandIn(provider, accept_keys=[KEYS[provider]])) for provider in ("openai", "anthropic")
        )
        api = stack.enter_context(Api(dsn, secret_keys=keys, app="liverouter"))
        worker = stack.enter_context(
            LiveRouter(database_url=dsn, secret_keys=keys, app="billing", heartbeat_interval_s=0.5)
        )
        context = stack.enter_context(profile(browser, viewport=WIDE))
        settings = Settings(context.new_page(), api)
        page = settings.page
        expect(settings.process("billing")).to_contain_text("waits for a config")
        look(page, "nothing")
        serve(settings, api, openai, anthropic)
        look(page, "live")
        name_models(settings, api)
        look(page, "names")
        page.get_by_role("button", name="bolder").click()
        expect(page.locator("#history table")).to_be_visible()
        look(page, "history")
        openai.fail(Failure.UNAUTHORIZED)
        worker.chat_model().invoke("hi")
        expect(page.locator("#serving")).to_contain_text("failed over to anthropic/claude-sonnet-4-6")
        expect(page.locator("#problems")).to_contain_text("Its key is refused")
        expect(page.locator("#problems .notice")).to_have_count(1)  # not twice for one cause
        page.get_by_role("tab", name="default").click()
        expect(settings.card(0).locator(".fault:visible")).to_contain_text("The provider refuses this key")
        look(page, "failed-over")
        settings.press("Check")
        expect(settings.card(0).locator(".verdict")).to_contain_text(
            "did not answer: the provider does not know the key, HTTP 401 ("
        )
        expect(settings.card(0).locator(".fault span:visible")).to_have_text(
            "The provider refuses this key. Enter one that works. "
        )
        look(page, "checked")
        anthropic.fail(Failure.REFUSED)
        settings.ask("And now?")
        expect(page.locator("#serving")).to_contain_text("no call is answered")
        expect(page.locator("#serving .named .health").first).to_contain_text("In 1 of 2 processes, since")  # not twice
        expect(page.locator("#answer")).to_contain_text("connection refused by")
        look(page, "down")
        refuse(settings, api)
        look(page, "refused")
        page.get_by_role("button", name="Roll back to revision 2").click()
        expect(page.locator("#dialog table")).to_be_visible()
        look(page, "asked")
        settings.press("Cancel")
        lose_the_database(settings, dsn, look)
        lose_the_server(browser, api, look)


def serve(settings: Settings, api: Api, openai: StandIn, anthropic: StandIn) -> None:
    """A primary and a fallback serve, and somebody tried it."""
    rows = {
        "llm_provider": "openai",
        "llm_model": "gpt-4o",
        "openai_api_base": openai.api_base,
        "anthropic_api_base": anthropic.api_base,
        "llm_fallback_config": [{"provider": "anthropic", "model": "claude-sonnet-4-6"}],
        "litellm_enable": False,
        "litellm_allowed_fails": 1,
    }
    secrets = {f"{provider}_api_key": key for provider, key in KEYS.items()}
    api.save(settings=rows, secrets=secrets, author="Anna", comment="the first one")
    expect(settings.page.locator("#fleet-sum")).to_have_text("2 of 2 on revision 1")
    expect(settings.ask("Who are you?")).to_contain_text("gpt-4o says: Who are you?")


def name_models(settings: Settings, api: Api) -> None:
    """Two more models, one of them changed since, and tried."""
    api.save(settings={"llm:fast": _FAST, "llm:plan": _PLAN})
    fallbacks = [_FAST["fallbacks"][0] | {"temperature": 0.1}, {"provider": "anthropic", "model": "claude-sonnet-4-6"}]
    row = _FAST | {"temperature": 0.5, "fallbacks": fallbacks}
    api.save(settings={"llm:fast": row}, author="Bert", comment="bolder")
    settings.page.get_by_role("tab", name="fast").click()
    settings.page.get_by_label("Which model").select_option("fast")
    expect(settings.ask("And you?")).to_contain_text("gpt-4o-mini says: And you?")
    settings.page.get_by_label("Which model").select_option("default")


def refuse(settings: Settings, api: Api) -> None:
    """Both processes refuse the newest revision."""
    api.put(settings={"llm:fast": _FAST | {"temperature": 9}})
    alarm = settings.page.locator("#alarm")
    expect(alarm).to_contain_text("Revision 4 is refused by 2 processes. They go on with revision 3.")
    expect(alarm).to_contain_text("fast, Temperature: The number is out of range.")
    settings.page.locator("#tab-fast").click()
    expect(settings.page.locator("#tab-fast")).to_have_attribute("aria-label", "fast, 1 to mend")


def lose_the_database(settings: Settings, dsn: str, look: Callable[[Page, str], None]) -> None:
    """It is away, with nothing else known, and comes back; the refused revision stays on top all the time."""
    name, alarm = dsn.rpartition("/")[2], settings.page.locator("#alarm")
    with psycopg.connect(dsn.replace(name, "postgres"), autocommit=True) as admin:
        cut_off(admin, name)
        expect(alarm).to_contain_text("Database lost at")
        expect(settings.bar).to_contain_text("Database lost at")
        expect(alarm.get_by_role("button")).to_have_count(0)  # where nothing can be saved, nothing can be rolled back
        expect(settings.page.get_by_role("button", name="Roll back to revision")).to_have_count(0)  # nor in the history
        look(settings.page, "database-lost")
        let_in(admin, name)
    expect(alarm).not_to_contain_text("Database lost")
    expect(alarm).to_contain_text("Revision 4 is refused")
    expect(alarm.get_by_role("button", name="Roll back to revision 3")).to_be_visible()
    expect(settings.bar).to_have_text("Everything is saved")


def lose_the_server(browser: Browser, api: Api, look: Callable[[Page, str], None]) -> None:
    """Somebody signs in with a wrong token first, and then with the right one; the server falls silent."""
    with profile(browser, viewport=WIDE) as context:
        page = context.new_page()
        page.clock.install()
        page.goto(f"{api.url}/#token=another-one")
        expect(page.locator("#sign-in-error")).not_to_be_empty()
        look(page, "sign-in")
        settings = Settings(page, api)
        expect(settings.process("billing")).to_be_visible()
        with api.held():
            page.clock.fast_forward(60_000)
            expect(page.locator("#alarm")).to_contain_text("Connection lost at")
            look(page, "connection-lost")
        page.clock.fast_forward(10_000)
        expect(page.locator("#alarm")).not_to_contain_text("Connection lost")


def main() -> None:
    """Take the pictures."""
    folder, program = Path(sys.argv[1]), shutil.which("chromium")
    assert program is not None, "apt-get install chromium"

    def look(page: Page, state: str) -> None:
        for kind, size in (("light", WIDE), ("dark", WIDE), ("phone", PHONE)):
            page.emulate_media(color_scheme="dark" if kind == "dark" else "light", reduced_motion="reduce")
            page.set_viewport_size(size)
            page.screenshot(path=folder / f"{state}-{kind}-seen.png")  # what sticks is where it sticks
            page.set_viewport_size(size | {"height": page.evaluate("document.documentElement.scrollHeight")})
            page.screenshot(path=folder / f"{state}-{kind}.png")
        page.set_viewport_size(WIDE)
        page.emulate_media(color_scheme="light", reduced_motion="no-preference")

    with EmbeddedPostgres() as server, sync_playwright() as driver:
        admin = server.dsn("postgres")
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute("CREATE DATABASE liverouter")
        dsn = server.dsn("liverouter")
        upgrade(dsn, echo=lambda _: None)
        browser = driver.chromium.launch(executable_path=program, args=["--headless", "--no-sandbox"])
        every_state(dsn, browser, look)
        browser.close()


if __name__ == "__main__":
    main()
