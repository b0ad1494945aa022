"""The parts of the fault suite: stand-in provider, an admin with a valid config, servers of a test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from liverouter.testing import StandIn
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


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-fault")


@pytest.fixture
def make_admin(standin: StandIn) -> Iterator[Callable[[str], Admin]]:
    """A function that makes an admin of a database and gives it a first valid config, if it has none."""
    admins = []

    def make(dsn: str) -> Admin:
        admin = Admin(dsn)
        admins.append(admin)
        admin.set(llm_provider="openai", llm_model="first", openai_api_base=standin.api_base, litellm_enable=True)
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
