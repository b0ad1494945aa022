"""The parts of the fault suite: stand-in provider, an admin with a valid config, servers of a test's own."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from liverouter.postgres.listener import Listener
from liverouter.testing import MemoryRouter, StandIn
from tests.faults.bounds import ROOM_S
from tests.kit.admin import Admin
from tests.kit.postgres.cluster import Cluster, Seed
from tests.kit.postgres.proxy import FaultProxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="session")
def standin() -> Iterator[StandIn]:
    """A stand-in for OpenAI that forgets."""
    with StandIn("openai", keep=100) as running:
        yield running


@pytest.fixture(scope="session", autouse=True)
def _loaded(standin: StandIn) -> None:
    """What the first call of a process loads, litellm above all, takes longer than the bounds on a busy machine."""
    with MemoryRouter(standin.rows("first"), secrets=standin.secrets()) as live:
        for enabled in (True, False):
            live.set(litellm_enable=enabled)
            live.chat_model().invoke("hi")


@pytest.fixture
def prompt_probes() -> None:
    """Whoever does not answer on the listening connection is soon given up, as by default."""


@pytest.fixture(autouse=True)
def _patient_probes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is slow to answer there is not dead, on a busy machine, where no test asks for `prompt_probes`."""
    if "prompt_probes" not in request.fixturenames:
        monkeypatch.setattr("liverouter.engine.engine.Listener", partial(Listener, probe_timeout_s=2.0 + ROOM_S))


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-fault")


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients use the native engine: callers never stop, and a call by litellm takes three times the CPU."""
    monkeypatch.setenv("LITELLM_ENABLE", "false")


@pytest.fixture
def make_admin(standin: StandIn) -> Iterator[Callable[[str], Admin]]:
    """A function that makes an admin of a database and gives it a first valid config, if it has none."""
    admins = []

    def make(dsn: str) -> Admin:
        admin = Admin(dsn)
        admins.append(admin)
        admin.set(llm_provider="openai", llm_model="first", openai_api_base=standin.api_base)
        return admin

    yield make
    for admin in admins:
        admin.close()


@pytest.fixture
def admin(dsn: str, make_admin: Callable[[str], Admin]) -> Admin:
    """An admin of this test's database, which holds a valid config."""
    return make_admin(dsn)


@pytest.fixture
def proxy(dsn: str) -> Iterator[FaultProxy]:
    """A proxy before this test's database."""
    with FaultProxy(dsn) as running:
        yield running


@pytest.fixture(scope="session")
def seed() -> Iterator[Seed]:
    """Data folders for servers of a test's own."""
    made = Seed()
    yield made
    made.remove()


@pytest.fixture
def cluster(seed: Seed) -> Iterator[Cluster]:
    """A running server of this test's own."""
    with seed.grow() as running:
        yield running
