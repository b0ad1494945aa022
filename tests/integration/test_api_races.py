"""Two admins at once: what one reads or saves while the other saves. Real database; the other comes in between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from liverouter.daemon.desired import Desired
from liverouter.daemon.models import Edit, RollbackBody
from liverouter.errors import ConflictError
from liverouter.postgres.repository import SettingsRepository
from liverouter.secrecy.sealing import Keyring, generate_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from liverouter.revision import Head, Rows

KEY: Final = "sk-test-0123456789abcdef"
GATEWAY: Final = "https://gateway.example.org"


class Interrupted(SettingsRepository):
    """A repository between two of whose statements somebody else saves: `others`, one after each read."""

    def __init__(self, dsn: str) -> None:
        super().__init__(url=dsn)
        self.other = SettingsRepository(url=dsn)
        self.others: list[dict[str, Any]] = []

    async def read(self) -> Rows:
        """Read; then somebody else saves."""
        rows = await super().read()
        await self._save()
        return rows

    async def head(self) -> Head:
        """Read; then somebody else saves."""
        head = await super().head()
        await self._save()
        return head

    async def _save(self) -> None:
        if self.others:
            await self.other.write(self.others.pop(0), author="bert", comment="meanwhile")


@pytest.fixture
async def repository(dsn: str) -> AsyncIterator[Interrupted]:
    """A repository on an empty, migrated database."""
    repository = Interrupted(dsn)
    yield repository
    await repository.other.close()
    await repository.close()


@pytest.fixture
def desired(repository: Interrupted) -> Desired:
    """The stored config of that database."""
    return Desired(repository=repository, keyring=Keyring.from_text(generate_key()))


def edit(**members: Any) -> Edit:
    """Return the body of a PUT."""
    return Edit.model_validate(members)


class TestRead:
    async def test_is_of_one_revision(self, desired: Desired, repository: Interrupted) -> None:
        """Revision, author and rows that are read while somebody saves belong together."""
        await desired.save(edit(settings={"llm_model": "a"}, author="anna"), expected_revision=0)
        repository.others = [{"llm_model": "b"}]
        config = await desired.read()
        assert (config.revision, config.author, config.comment) == (2, "bert", "meanwhile")
        assert config.settings == {"llm_model": "b"}


class TestSaveOverAnyRevision:
    async def test_says_whether_it_changed_anything(self, desired: Desired, repository: Interrupted) -> None:
        """What somebody else stored meanwhile is not this one's change."""
        repository.others = [{"llm_model": "b"}]
        saved = await desired.save(edit(settings={"llm_model": "b"}), expected_revision=None)
        assert (saved.revision, saved.changed) == (1, False)

    async def test_binds_a_secret_to_the_rows_that_it_meets(self, desired: Desired, repository: Interrupted) -> None:
        """A key is bound to the base URL of the revision that it becomes part of, not to one that was replaced."""
        repository.others = [{"openai_api_base": f"{GATEWAY}/v1"}]
        saved = await desired.save(edit(secrets={"openai_api_key": KEY}), expected_revision=None)
        assert (saved.revision, saved.changed) == (2, True)
        assert (await desired.read()).secrets["openai_api_key"].origins == [GATEWAY]

    async def test_ends_where_others_never_stop(self, desired: Desired, repository: Interrupted) -> None:
        """Who is overtaken again and again is told of the conflict, and nothing is changed."""
        repository.others = [{"llm_model": f"m{n}"} for n in range(100)]
        with pytest.raises(ConflictError):
            await desired.save(edit(settings={"llm_temperature": 1}), expected_revision=None)
        repository.others = []
        assert "llm_temperature" not in (await desired.read()).settings

    async def test_roll_back_says_whether_it_changed_anything(self, desired: Desired, repository: Interrupted) -> None:
        """What somebody else took back meanwhile is not this one's change."""
        await desired.save(edit(settings={"llm_model": "a"}), expected_revision=0)
        await desired.save(edit(settings={"llm_model": "b"}), expected_revision=1)
        repository.others = [{"llm_model": "a"}]
        saved = await desired.rollback(RollbackBody(revision=1), expected_revision=None)
        assert (saved.revision, saved.changed) == (3, False)


class TestSaveOverOneRevision:
    async def test_is_refused_where_somebody_came_first(self, desired: Desired, repository: Interrupted) -> None:
        """Who named a revision is never moved to another one."""
        repository.others = [{"llm_model": "b"}]
        with pytest.raises(ConflictError):
            await desired.save(edit(settings={"llm_temperature": 1}), expected_revision=0)
