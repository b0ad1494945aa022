"""The settings page, as somebody who looks at it finds things."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from playwright.sync_api import expect

from tests.browser.conftest import KEYS, sign_in

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from tests.browser.conftest import World
    from tests.kit.daemon import Daemon
    from tests.kit.http import Api

_PATIENCE_MS: Final = 90_000  # a busy machine
expect.set_options(timeout=_PATIENCE_MS)


class Settings:
    """One open page."""

    def __init__(self, page: Page, place: World | Api | Daemon) -> None:
        self.page = page
        sign_in(page.context, place)
        page.goto(place.url)
        expect(self.card(0)).to_be_visible()

    def card(self, number: int) -> Locator:
        """The primary (0) or a fallback (1, 2, …) of the model that is shown."""
        return self.page.locator(f'.model:not([hidden]) [data-card="{number}"]')

    def fill(self, number: int, *, provider: str, model: str, key: str, base_url: str) -> None:
        """Fill in a card."""
        card = self.card(number)
        card.get_by_label("Provider").select_option(label=provider)
        card.get_by_label("Model").fill(model)
        card.get_by_label("API key").fill(key)
        card.get_by_text("More", exact=True).click()
        card.get_by_label("Base URL").fill(base_url)

    def press(self, name: str) -> None:
        """Press a button of the page or of its dialog."""
        self.page.get_by_role("button", name=name, exact=True).click()

    @property
    def bar(self) -> Locator:
        """What the bar at the bottom says."""
        return self.page.locator("#bar-text")

    def process(self, name: str) -> Locator:
        """A process in the list."""
        return self.page.locator("#fleet li", has=self.page.locator(".who", has_text=name))

    def temperature(self) -> Locator:
        """The temperature of every call."""
        return self.page.locator(".model:not([hidden]) .common").get_by_label("Temperature")

    def longest_answer(self) -> Locator:
        """The limit of every call."""
        return self.page.locator(".model:not([hidden]) .common").get_by_label("Longest answer")

    def ask(self, prompt: str) -> Locator:
        """Try the live model and return where its answer appears."""
        self.page.get_by_label("Prompt").fill(prompt)
        self.press("Ask")
        return self.page.locator("#answer")


def set_up(settings: Settings, world: World, anthropic_key: str) -> None:
    """Configure Anthropic with OpenAI as its fallback, and save."""
    settings.fill(
        0, provider="Anthropic", model="claude-sonnet-4-6", key=anthropic_key, base_url=world.anthropic.api_base
    )
    settings.press("Add a fallback")
    settings.fill(1, provider="OpenAI", model="gpt-4o", key=KEYS["openai"], base_url=world.openai.api_base)
