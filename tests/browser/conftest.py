"""A real daemon, two real workers, stand-in providers, and the distribution's Chromium to look at it all.

The daemon is served from this process, by `tests.kit.http`. The admin's story and what happens when a daemon ends
have one in a process of its own.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest

from liverouter import LiveRouter
from liverouter.daemon.auth import COOKIE
from liverouter.secrecy.sealing import generate_key
from liverouter.testing import StandIn
from tests.kit.daemon import Daemon
from tests.kit.http import Api

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, BrowserContext, Page

KEYS: Final = {"anthropic": "sk-ant-0123456789abcdef", "openai": "sk-0123456789abcdef"}
_FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_PATIENCE_MS: Final = 90_000  # a busy machine


@pytest.fixture(autouse=True)
def _native(monkeypatch: pytest.MonkeyPatch) -> None:
    """No litellm, which takes seconds to import: the page is the same with either engine."""
    monkeypatch.setenv("LITELLM_ENABLE", "false")


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


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser profile of this test's own; a complaint in its console fails the test."""
    complaints: list[str] = []
    with profile(browser, viewport={"width": 1360, "height": 900}) as context:
        context.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        context.on("weberror", lambda error: complaints.append(str(error.error)))
        yield context
    # Chromium itself reports each refused request, which tests provoke on purpose.
    assert [text for text in complaints if not text.startswith("Failed to load resource")] == []


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """A tab."""
    return context.new_page()


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What a settings page is about."""

    dsn: str
    url: str  # of the page
    token: str
    anthropic: StandIn
    openai: StandIn
    workers: tuple[LiveRouter, ...]


def sign_in(context: BrowserContext, place: World | Api | Daemon) -> None:
    """Have a profile know the token of *place*, once."""
    if not any(cookie["name"] == COOKIE and cookie["value"] for cookie in context.cookies(place.url)):
        answer = context.request.post(f"{place.url}/api/session", data={"token": place.token})
        assert answer.status == 204, answer.text()


@contextmanager
def _around(dsn: str, keys: str, daemon: Api | Daemon) -> Iterator[World]:
    with ExitStack() as stack:
        anthropic, openai = (stack.enter_context(StandIn(name, accept_keys=[key])) for name, key in KEYS.items())
        stack.enter_context(daemon)
        workers = tuple(
            stack.enter_context(LiveRouter(database_url=dsn, secret_keys=keys, app=name, heartbeat_interval_s=1))
            for name in ("worker-1", "worker-2")
        )
        yield World(dsn=dsn, url=daemon.url, token=daemon.token, anthropic=anthropic, openai=openai, workers=workers)


@pytest.fixture
def world(dsn: str) -> Iterator[World]:
    """A migrated, empty database; two workers and a daemon on it; two providers that know one key each."""
    keys = generate_key()
    with _around(dsn, keys, Api(dsn, secret_keys=keys, app="liverouter")) as world:
        yield world


@pytest.fixture
def world_of_processes(dsn: str, tmp_path: Path) -> Iterator[World]:
    """The same, with `liverouter serve` as a process of its own."""
    keys = generate_key()
    environment = {"LIVEROUTER_DATABASE_URL": dsn, "LIVEROUTER_SECRET_KEYS": keys}
    daemon = Daemon(log=tmp_path / "daemon.log", **environment)
    with _around(dsn, keys, daemon) as world:
        yield world
