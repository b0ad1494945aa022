"""The night: the primary goes down, then everything, then all is back; wherever somebody looks, each step is told."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import pytest

from liverouter.secrecy.sealing import generate_key
from liverouter.testing import Failure
from tests.browser.conftest import KEYS, profile
from tests.browser.settings import Settings
from tests.kit.admin import Admin
from tests.kit.daemon import Daemon
from tests.kit.processes import Worker
from tests.kit.receiver import Receiver, seal_webhook
from tests.kit.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

    from liverouter.testing import StandIn

pytestmark = pytest.mark.timeout(900)  # seconds; each wait has its own bound

_SEEN_S: Final = 15.0  # what the product promises
_GONE_S: Final = 60.0
_WAIT_S: Final = 120.0  # for each step, however busy the machine is
_PAUSE_S: Final = 0.2  # between two looks: some of them take the server, the daemon or the browser 10 ms
_NIGHTS: Final = 3  # a machine that stands still for a while is no slow product
_ON_THE_PAGE: Final = {  # its words
    "LR320": "\nin 2 of ",  # a line of its own, below what its model says: no call is answered
    "LR321": "and a fallback serves",
    "LR323": "its key is refused in ",
}

Steps = dict[tuple[str, str], float]  # step and place -> seconds from its cause until it was seen there


class Night:
    """A daemon with its page open, a native and a litellm service that never stop calling, psql, and a webhook.

    Attributes:
        took: by step and place, how long it took until it was seen there.
    """

    def __init__(
        self, admin: Admin, daemon: Daemon, workers: dict[str, Worker], settings: Settings, receiver: Receiver
    ) -> None:
        self._admin, self._daemon, self._workers = admin, daemon, workers
        self._settings, self._receiver = settings, receiver
        self.took: Steps = {}
        self._step, self._began = "", 0.0
        self._posts = 0  # of earlier steps
        self._lines = dict.fromkeys(workers, 0)

    def begin(self, step: str) -> None:
        """Begin *step*: what was logged and posted before is of earlier ones."""
        self._step, self._began = step, time.monotonic()
        self._posts = len(self._receiver.posts)
        self._lines = {name: len(worker.log) for name, worker in self._workers.items()}

    def problems(self) -> set[str]:
        """Return the codes of what `problems` says of providers."""
        query = "SELECT code FROM liverouter.problems WHERE code BETWEEN 'LR320' AND 'LR327'"
        return {code for (code,) in self._admin.connection.execute(query).fetchall()}

    def page(self) -> set[str]:
        """Return the codes of what the open page says, in its words."""
        said = self._settings.page.locator("#serving").inner_text().lower()
        return {code for code, words in _ON_THE_PAGE.items() if words in said}

    def metrics(self) -> set[str]:
        """Return the codes that the daemon's metrics have of providers."""
        lines = self._daemon.get("/metrics").text.splitlines()
        codes = {line.split('code="')[1][:5] for line in lines if line.startswith("liverouter_problems{")}
        return {code for code in codes if code.startswith("LR32")}

    def logged(self, event: str) -> bool:
        """Tell whether each service has a log line of *event* in this step."""
        return all(event in list(worker.log)[self._lines[name] :] for name, worker in self._workers.items())

    def posted(self, kind: str) -> set[str]:
        """Return the codes of providers that the webhook got in this step as *kind*, gained or lost."""
        codes = {item["code"] for post in self._receiver.posts[self._posts :] for item in post[kind]}
        return {code for code in codes if code.startswith("LR32")}

    def pill(self) -> str:
        """Return what the page says on top."""
        return self._settings.page.locator("#state").inner_text()

    def sees(self, **places: Callable[[], object]) -> None:
        """Return once each of *places* is true, and note how long that took."""
        for place, is_seen in places.items():
            until(is_seen, _WAIT_S, f"{self._step} seen in {place}", pause_s=_PAUSE_S)
            self.took[self._step, place] = time.monotonic() - self._began

    def play(self, openai: StandIn, anthropic: StandIn) -> Steps:
        """Let the night pass, and return how long each step took."""
        self.begin("primary down")
        openai.fail(Failure.SERVER_ERROR)
        self.sees(
            problems=lambda: self.problems() >= {"LR321"},
            page=lambda: self.page() == {"LR321"},
            metrics=lambda: self.metrics() >= {"LR321"},
            log=lambda: self.logged("deployment.cooling") and self.logged("call.failed_over"),
        )
        assert self.posted("gained") == set(), "a warning wakes nobody"

        self.begin("everything down")
        anthropic.fail(Failure.UNAUTHORIZED)
        self.sees(
            problems=lambda: self.problems() >= {"LR320", "LR323"},
            page=lambda: self.page() >= {"LR320", "LR323"} and "fail" in self.pill(),
            metrics=lambda: self.metrics() >= {"LR320", "LR323"},
            log=lambda: self.logged("call.failed"),
            webhook=lambda: self.posted("gained") == {"LR320", "LR323"},
        )
        assert self.posted("lost") == set()

        self.begin("all is back")
        anthropic.heal()
        until(lambda: self.logged("deployment.recovered"), _WAIT_S, pause_s=_PAUSE_S)
        openai.heal()
        self.sees(
            problems=lambda: self.problems() == set(),
            page=lambda: self.page() == set() and self.pill().startswith("Live · revision"),
            metrics=lambda: self.metrics() == set(),
            log=lambda: self.logged("deployment.recovered"),
            webhook=lambda: self.posted("lost") == {"LR320", "LR323"},
        )
        return self.took

    def late(self) -> Steps:
        """Return what was seen later, or was gone later, than promised."""
        bounds = {"all is back": _GONE_S}
        return {step: s for step, s in self.took.items() if s > bounds.get(step[0], _SEEN_S)}


@pytest.fixture
def night(dsn: str, openai: StandIn, anthropic: StandIn, browser: Browser, tmp_path: Path) -> Iterator[Night]:
    """All of it, everything well."""
    key = generate_key()
    keys = {f"{provider.upper()}_API_KEY": secret for provider, secret in KEYS.items()}
    common = {"LIVEROUTER_SECRET_KEYS": key, "LIVEROUTER_HEARTBEAT_INTERVAL_S": "10", **keys}
    with ExitStack() as stack:
        receiver = stack.enter_context(Receiver())
        admin = Admin(dsn)
        stack.callback(admin.close)
        seal_webhook(admin.connection, f"{receiver.url}/the-operators", key)
        admin.set(
            llm_provider="openai",
            llm_model="gpt-4o",
            openai_api_base=openai.base_url,
            anthropic_api_base=anthropic.base_url,
            llm_fallback_config={"provider": "anthropic", "model": "claude-sonnet-4-6"},
            litellm_num_retries=0,
            litellm_allowed_fails=1,
            litellm_cooldown_time=2,
        )
        daemon = Daemon(log=tmp_path / "log", LIVEROUTER_DATABASE_URL=dsn, **common)
        stack.enter_context(daemon)
        options = common | {"WORKER_THREADS": "1"}
        workers = {
            name: stack.enter_context(Worker(dsn, **options, LIVEROUTER_APP=name, LITELLM_ENABLE=litellm))
            for name, litellm in (("native", "false"), ("litellm", "true"))
        }
        context = stack.enter_context(profile(browser))
        settings = Settings(context.new_page(), daemon)
        yield Night(admin, daemon, workers, settings, receiver)


def test_each_step_is_seen_and_goes(night: Night, openai: StandIn, anthropic: StandIn) -> None:
    """In problems, on the page, in metrics, in the logs and at the webhook, which hears of errors alone.

    Each is seen within 15 s, and gone within a minute of the end.
    """
    until(lambda: night.problems() == set() and night.page() == set(), _WAIT_S, pause_s=_PAUSE_S)
    for _ in range(_NIGHTS):
        night.play(openai, anthropic)
        if not night.late():
            return
    pytest.fail(f"late: {night.late()}")
