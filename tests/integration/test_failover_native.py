"""`litellm_enable = false`: the providers' own LangChain models behind the same handle, with fallbacks.

How each failure is met is in `test_failover_matrix`, how the engine is changed under load in `test_engine_switch`.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import pytest
from langchain_core import exceptions as core

from liverouter import ConfigError
from liverouter.chat.errors import EveryDeploymentFailedError
from liverouter.events import ConfigApplied
from liverouter.testing import Failure
from tests.kit.dialects import DIALECTS, EVERY
from tests.kit.wires import LITELLM_WARNINGS, NATIVE_WARNINGS
from tests.kit.world import METHODS, PROMPT, World

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [*LITELLM_WARNINGS, *NATIVE_WARNINGS]

CLASSES = {
    "anthropic": "ChatAnthropic",
    "openai": "ChatOpenAI",
    "azure-openai": "AzureChatOpenAI",
    "vertex-ai": "ChatGoogleGenerativeAI",
    "vertex-ai claude": "ChatAnthropic",
    "snowflake": "ChatOpenAI",
    "snowflake claude": "ChatOpenAI",
}
PACKAGES = ("anthropic", "openai", "vertex-ai", "vertex-ai claude")  # a dialect for each that sends requests


@pytest.fixture(scope="module", params=DIALECTS)
def shared(request: pytest.FixtureRequest) -> Iterator[World]:
    """A primary of each dialect with a fallback, litellm off."""
    with World(
        request.param, litellm_enable=False, litellm_num_retries=1, llm_temperature=0.5, llm_max_tokens=100
    ) as made:
        yield made


@pytest.fixture
def world(shared: World) -> World:
    """The same, with nothing failing and nothing cooling."""
    shared.primary.heal()
    shared.fallback.heal()
    shared.clock.tick(100_000)
    return shared


class TestEveryProvider:
    def test_models_are_the_providers_own_classes(self, world: World) -> None:
        """No litellm in between: the class that each provider's package gives, for the fallback too."""
        generation = world.live.generation()
        assert generation.router is None
        assert type(generation.chat).__name__ == CLASSES[world.dialect.name]
        spare = world.deployment("fallback")
        assert type(generation.chats[spare.id]).__name__ == CLASSES[spare.provider]

    @pytest.mark.parametrize("stream", [False, True])
    def test_primary_answers(self, world: World, *, stream: bool) -> None:
        """An answer, from a loop or not, says who served and what it cost; nothing strange is sent for it."""
        outcome = world.call(METHODS[2 * stream + list(DIALECTS).index(world.dialect.name) % 2])
        assert (outcome.primary_hits, outcome.fallback_hits) == (1, 0)
        assert outcome.answer.content == world.dialect.says + PROMPT
        told = outcome.told
        assert (told["provider"], told["role"], told["engine"]) == (world.dialect.provider, "primary", "native")
        assert (told["failed_over"], told["attempts"]) == (False, 1)
        assert told["cost_usd"] > 0
        assert outcome.answer.usage_metadata is not None
        assert world.primary.violations == ()

    def test_fallback_answers_until_the_cooldown_is_over(self, world: World) -> None:
        """A refused key cools the primary at once; the fallback's answer says that it is one."""
        method = METHODS[list(DIALECTS).index(world.dialect.name) % 4]
        world.primary.fail(Failure.UNAUTHORIZED)
        first, second = world.call(method), world.call(method)
        assert (first.primary_hits, first.role) == (1, "fallback")
        assert (second.primary_hits, second.role) == (0, "fallback")
        assert (first.told["engine"], first.told["failed_over"], first.told["attempts"]) == ("native", True, 2)
        assert first.told["deployment_id"] == world.deployment("fallback").id
        assert first.told["cost_usd"] > 0
        world.primary.heal()
        world.clock.tick(100_000)
        assert world.call(method).role == "primary"

    @pytest.mark.parametrize("shared", PACKAGES, indirect=True)
    def test_server_error_is_tried_as_often_as_configured(self, world: World) -> None:
        """Each package has retries of its own, which are off; the setting counts tries, and there is always one."""
        world.primary.fail(Failure.SERVER_ERROR)
        for tries in (2, 0):  # none is one, as it was
            world.live.set(litellm_num_retries=tries)
            world.clock.tick(100_000)
            assert world.call().primary_hits == max(tries, 1)

    def test_failure_of_all_surfaces_typed(self, world: World) -> None:
        """Where nobody answers the error names each deployment with what its provider said, the primary first."""
        world.primary.fail(Failure.UNAUTHORIZED)
        world.fallback.fail(Failure.UNAVAILABLE)
        with pytest.raises(EveryDeploymentFailedError, match=r"401.*503"):
            world.call()


class TestMissingPackage:
    def test_fallback_without_its_package_is_left_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The primary serves alone; a warning says what to install."""
        monkeypatch.setitem(sys.modules, "langchain_anthropic", None)
        with World("openai", litellm_enable=False, litellm_num_retries=1) as world:
            assert world.call().role == "primary"
            assert len(world.live.generation().chats) == 1
            (warning,) = world.events.wait_for(ConfigApplied).warnings
            assert (warning.code, warning.severity) == ("LR109", "warning")
            assert "pip install 'liverouter[anthropic]'" in str(warning)
            world.primary.fail(Failure.UNAVAILABLE)
            with pytest.raises(core.ModelAPIError):
                world.call()
            assert world.hits()[1] == 0

    def test_primary_without_its_package_is_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """There is nothing to serve with: the configuration is rejected, the one in force serves on."""
        monkeypatch.setitem(sys.modules, "langchain_openai", None)
        with World("openai") as world:
            with pytest.raises(ConfigError, match="LR109"):
                world.live.set(litellm_enable=False)
            assert world.call().told["engine"] == "litellm"

    def test_what_litellm_fetches_tokens_by_is_asked_before_it_is_needed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A fallback is left out, of the Router's calls as well, and a primary is an error."""
        with World("openai", fallback="vertex-ai") as world:
            world.live.set(litellm_enable=False)
            monkeypatch.setitem(sys.modules, "google.auth", None)
            monkeypatch.setitem(sys.modules, "google.oauth2", None)
            world.live.set(litellm_enable=True)
            (warning,) = world.live.generation().warnings
            assert (warning.code, warning.severity) == ("LR109", "warning")
            assert "pip install 'liverouter[vertex]'" in str(warning)
            assert len(world.live.generation().chats) == 1
            world.primary.fail(Failure.UNAVAILABLE)
            with pytest.raises(core.ModelAPIError):
                world.call()
            asked = world.live.generation().router.acompletion("m", [{"role": "user", "content": "hi"}])
            with pytest.raises(Exception, match="503"):
                asyncio.run(asked)
            assert world.hits()[1] == 0
            with pytest.raises(ConfigError, match="LR109"):
                world.live.set(**{"llm:own": EVERY["vertex-ai"].entry(world.fallback)})
