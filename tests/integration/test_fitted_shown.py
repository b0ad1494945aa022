"""What rows say and a model does not take is told wherever an operator looks: in SQL, by `show`, on the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from liverouter import LiveRouter
from tests.kit.admin import Admin
from tests.kit.http import Api
from tests.kit.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from liverouter.testing import StandIn

SENT: Final = "anthropic/claude-sonnet-4-6 takes temperature from 0 to 1: 1 is sent, not 1.5"


@pytest.fixture
def admin(dsn: str, anthropic: StandIn, monkeypatch: pytest.MonkeyPatch) -> Admin:
    """An admin who asked for more than the model takes."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-anthropic")
    admin = Admin(dsn)
    admin.set(
        llm_provider="anthropic",
        llm_model="claude-sonnet-4-6",
        llm_temperature=1.5,
        anthropic_api_base=anthropic.api_base,
        litellm_enable=False,
    )
    return admin


def test_warning_is_shown_everywhere(dsn: str, admin: Admin, cli: Callable[..., Any]) -> None:
    """Without a process `show` and the page find it, with one the view tells of it as well."""

    def shown() -> set[tuple[str, str]]:
        problems = cli("show", "--json").json["problems"]  # one for each process, and here
        return {(p["severity"], p["message"]) for p in problems if p["code"] == "LR114"}

    def told() -> Any:
        return admin.ask("SELECT severity, object, message FROM liverouter.problems WHERE code = 'LR114'")

    with admin.connection, Api(dsn) as api:
        assert shown() == {("warning", SENT)}
        assert SENT in cli("show").out
        assert (SENT, "warning") in [(p["message"], p["severity"]) for p in api.get("/api/config")["problems"]]
        with LiveRouter(database_url=dsn):
            until(lambda: told() is not None)
            severity, where, message = told()
            assert (severity, message) == ("warning", SENT)
            assert "llm_temperature" in where
            assert shown() == {("warning", SENT)}
        admin.set(llm_temperature=1)
        until(lambda: shown() == set())  # once every process has applied it
