"""A real daemon, two real workers, stand-in providers, and the distribution's Chromium to look at it all.

The daemon is served from this process, by `tests.kit.http`; what happens when one ends has it in a process of its own.
A module's tests share a world and a tab: each finds the rows as the module has them, and the page loaded anew.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import pytest

from liverouter import LiveRouter
from liverouter.secrecy.sealing import generate_key
from liverouter.testing import StandIn
from tests.kit.http import Api

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from playwright.sync_api import Browser, BrowserContext, Page

    from tests.browser.settings import Settings
    from tests.kit.daemon import Daemon

KEYS: Final = {"anthropic": "sk-ant-0123456789abcdef", "openai": "sk-0123456789abcdef"}
_FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-software-rasterizer",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_PATIENCE_MS: Final = 90_000  # a busy machine
_SIZE: Final[Any] = {"width": 1360, "height": 900}


@pytest.fixture(scope="module", autouse=True)
def _native() -> Iterator[None]:
    """No litellm, which takes seconds to import: the page is the same with either engine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LITELLM_ENABLE", "false")
        yield


@pytest.fixture(scope="module")
def browser(needs_program: Callable[..., Path]) -> Iterator[Browser]:
    """The distribution's Chromium; nothing is fetched.

    It ends with the module: its driver keeps an event loop running in this thread, where other tests start theirs.
    """
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    program = needs_program("chromium", "chromium-browser", "google-chrome", package="chromium")
    with api.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=str(program), headless=True, args=_FLAGS)
        yield found
        found.close()


@contextmanager
def profile(browser: Browser, **options: Any) -> Iterator[BrowserContext]:
    """Have a browser profile; *options* are those of `new_context`.

    To be left before the daemon that its pages show, or its port may belong to another test's server by then: an open
    page goes on asking.
    """
    context = browser.new_context(**options)
    context.set_default_timeout(_PATIENCE_MS)
    try:
        yield context
    finally:
        context.close()


@dataclass(frozen=True, slots=True)
class Tab:
    """A tab, and what its console complained of."""

    page: Page
    complaints: list[str]

    @classmethod
    def of(cls, context: BrowserContext) -> Self:
        """Open a tab in *context*."""
        complaints: list[str] = []
        context.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        context.on("weberror", lambda error: complaints.append(str(error.error)))
        return cls(context.new_page(), complaints)

    def complained(self) -> list[str]:
        """Return what its console complained of since this was asked last."""
        told = self.complaints.copy()
        self.complaints.clear()
        # Chromium itself reports each refused request, which tests provoke on purpose.
        return [text for text in told if not text.startswith("Failed to load resource")]


@pytest.fixture(scope="module")
def tab(browser: Browser) -> Iterator[Tab]:
    """The tab that a module's tests share: a profile of its own costs each as much as the page itself."""
    with profile(browser, viewport=_SIZE) as context:
        yield Tab.of(context)


@pytest.fixture
def page(tab: Tab) -> Iterator[Page]:
    """That tab, empty; a complaint in its console fails the test."""
    page = tab.page
    page.set_viewport_size(_SIZE)
    page.emulate_media(color_scheme="light")
    yield page
    complained = tab.complained()
    page.unroute_all()
    page.goto("about:blank")
    tab.complaints.clear()
    assert complained == []


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What a settings page is about."""

    dsn: str
    api: Api
    anthropic: StandIn
    openai: StandIn
    workers: tuple[LiveRouter, ...]

    @property
    def url(self) -> str:
        """The address of the page."""
        return self.api.url

    @property
    def token(self) -> str:
        """What signs in."""
        return self.api.token

    def set_up(self) -> None:
        """Have Anthropic serve with OpenAI as its fallback, and nothing else stored."""
        rows = {
            "llm_provider": "anthropic",
            "llm_model": "claude-sonnet-4-6",
            "llm_fallback_config": [{"provider": "openai", "model": "gpt-4o"}],
            "anthropic_api_base": self.anthropic.api_base,
            "openai_api_base": self.openai.api_base,
        }
        restore(self.api, rows, {f"{provider}_api_key": key for provider, key in KEYS.items()})


def restore(api: Api, rows: dict[str, Any], secrets: dict[str, str]) -> None:
    """Have *rows* and *secrets* stored and no other row, in a new revision where that is needed."""
    others = api.get("/api/config")["settings"].keys() - rows.keys()
    api.save(settings=dict.fromkeys(others) | rows, secrets=secrets)


def sign_in(context: BrowserContext, place: World | Api | Daemon) -> None:
    """Have a profile know the token of *place*, where it does not."""
    again = 3  # where the daemon ends an idle connection just as it is used
    if not context.request.get(f"{place.url}/api/status", max_retries=again).ok:  # a cookie may be of another port
        answer = context.request.post(f"{place.url}/api/session", data={"token": place.token}, max_retries=again)
        assert answer.status == 204, answer.text()


@contextmanager
def _around(dsn: str) -> Iterator[World]:
    keys = generate_key()
    with ExitStack() as stack:
        anthropic, openai = (stack.enter_context(StandIn(name, accept_keys=[key])) for name, key in KEYS.items())
        api = stack.enter_context(Api(dsn, secret_keys=keys, app="liverouter"))
        workers = tuple(
            stack.enter_context(LiveRouter(database_url=dsn, secret_keys=keys, app=name, heartbeat_interval_s=1))
            for name in ("worker-1", "worker-2")
        )
        yield World(dsn=dsn, api=api, anthropic=anthropic, openai=openai, workers=workers)


@pytest.fixture(scope="module")
def world(new_database: Callable[[str], AbstractContextManager[str]]) -> Iterator[World]:
    """Two workers and a daemon on a database of the module's; two providers that know one key each."""
    with new_database("page") as dsn, _around(dsn) as world:
        yield world


@pytest.fixture
def empty_world(dsn: str) -> Iterator[World]:
    """The same for one test, which finds an empty database."""
    with _around(dsn) as world:
        yield world


@pytest.fixture
def settings(world: World, page: Page) -> Settings:
    """The page of the module's world, which is set up."""
    from tests.browser.settings import Settings

    world.set_up()
    return Settings(page, world)
