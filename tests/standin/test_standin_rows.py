"""A stand-in says how it is configured: its rows and secrets make a client that it answers."""

from __future__ import annotations

import threading

import pytest

from liverouter.errors import ConfigError
from liverouter.testing import PROVIDERS, MemoryRouter, StandIn
from tests.kit.dialects import MODELS
from tests.kit.standins import KEY
from tests.kit.waiting import until


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("enabled", [True, False], ids=["litellm", "native"])
def test_rows_and_secrets_make_it_the_primary(provider: str, *, enabled: bool) -> None:
    """Nothing else is needed, for any provider and by either engine."""
    with StandIn(provider) as standin:
        rows = standin.rows(MODELS[provider]) | {"litellm_enable": enabled}
        with MemoryRouter(rows, secrets=standin.secrets()) as live:
            assert live.chat_model().invoke("hi").text.endswith("says: hi")
        assert standin.hits == 1


def test_rows_without_a_model_only_say_where_it_is() -> None:
    """For a fallback, or for a config that names its primary itself."""
    with StandIn("anthropic") as standin:
        assert standin.rows() == {"anthropic_api_base": standin.api_base}


def test_secret_is_one_that_it_accepts() -> None:
    """Where only some keys are accepted it is one of them; else one that no other provider's stand-in is given."""
    with StandIn("openai", accept_keys=["sk-mine"]) as openai, StandIn("anthropic") as anthropic:
        assert openai.secrets() == {"openai_api_key": "sk-mine"}
        assert anthropic.secrets() == {"anthropic_api_key": f"{KEY}-anthropic"}


def test_a_memory_router_that_cannot_start_leaves_nothing() -> None:
    """Its rows are rejected on entering: its thread ends and `get_chat_model()` stays what it was."""
    before = set(threading.enumerate())
    with pytest.raises(ConfigError), MemoryRouter({"llm_provider": "openai"}):
        pass
    until(lambda: set(threading.enumerate()) <= before)  # those of tests before this one may end meanwhile
