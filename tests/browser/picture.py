"""The picture of the settings page that the documents show: `python -m tests.browser.picture` takes it."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import psycopg
from playwright.sync_api import sync_playwright

from liverouter import LiveRouter
from liverouter.embedded.server import EmbeddedPostgres
from liverouter.postgres.migrate import upgrade
from liverouter.secrecy.sealing import generate_key
from liverouter.testing import StandIn
from tests.kit.daemon import Daemon
from tests.kit.pages import ROOT

PICTURE: Final = ROOT / "docs" / "images" / "page.png"
_ROWS: Final = {
    "llm_provider": '"anthropic"',
    "llm_model": '"claude-sonnet-4-6"',
    "llm_fallback_config": '{"provider": "openai", "model": "gpt-5.1"}',
    "litellm_enable": "false",
}


def main() -> None:
    """Start a database, two providers, three services and the page, and take its picture."""
    program = shutil.which("chromium")
    assert program is not None, "apt-get install chromium"
    keys = generate_key()
    with ExitStack() as stack:
        server = stack.enter_context(EmbeddedPostgres())
        dsn = server.dsn("postgres")
        upgrade(dsn, echo=lambda _: None)
        standins = {name: stack.enter_context(StandIn(name)) for name in ("anthropic", "openai")}
        with psycopg.connect(dsn) as connection:
            rows = _ROWS | {f"{name}_api_base": f'"{standin.base_url}"' for name, standin in standins.items()}
            for key, value in rows.items():
                connection.execute("INSERT INTO liverouter.settings VALUES (%s, %s)", (key, value))
        options: dict[str, Any] = {"database_url": dsn, "secret_keys": keys, "heartbeat_interval_s": 1}
        log = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "log"
        environment = {f"{name.upper()}_API_KEY": "sk-0123456789" for name in standins}
        daemon = Daemon(log=log, LIVEROUTER_DATABASE_URL=dsn, LIVEROUTER_SECRET_KEYS=keys, **environment)
        stack.enter_context(daemon)
        os.environ.update(environment)
        for app in ("billing", "chat", "search"):
            live = stack.enter_context(LiveRouter(**options, app=app))
            for number in range(5):
                live.chat_model().invoke(f"question {number}")
        driver = stack.enter_context(sync_playwright())
        browser = driver.chromium.launch(executable_path=program, args=["--headless", "--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 860}, device_scale_factor=1.5)
        page.goto(f"{daemon.url}/#token={daemon.token}")
        page.get_by_text("search").first.wait_for(timeout=60_000)
        page.wait_for_timeout(5_000)  # until the reports of the calls are in
        page.screenshot(path=PICTURE)
        browser.close()
    sys.stdout.write(f"wrote {PICTURE.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
