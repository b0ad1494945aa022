"""What a generation can do is what each of its deployments can: the least limit, the common abilities."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, strategies as st
from langchain_core.language_models import ModelProfile

from liverouter.chat.profile import DEFAULT_MAX_INPUT_TOKENS, combine, profile_of
from liverouter.providers import PROVIDERS
from liverouter.revision import Deployment
from tests.kit.deployments import deployment

UNLOADED = """
import json, sys
from tests.unit.test_profile import GPT, profile
print(json.dumps([profile(GPT)["max_input_tokens"], "litellm" in sys.modules]))
"""
CLAUDE = ("anthropic", "claude-sonnet-4-6")
GPT = ("openai", "gpt-4o")


def profile(*models: tuple[str, str] | Deployment) -> ModelProfile:
    """Return the profile of a config with *models*."""
    deployments = [m if isinstance(m, Deployment) else deployment(*m) for m in models]
    return combine([profile_of(one) for one in deployments])


class TestLimits:
    def test_limit_is_the_least(self) -> None:
        """A history has to fit the fallback as well."""
        alone, both = profile(CLAUDE), profile(CLAUDE, GPT)
        assert alone["max_input_tokens"] > 150_000
        assert both["max_input_tokens"] == profile(GPT)["max_input_tokens"] == 128_000
        assert both["max_output_tokens"] == min(alone["max_output_tokens"], profile(GPT)["max_output_tokens"])

    def test_unknown_model_counts_with_the_default(self) -> None:
        """A model that no map knows has a limit all the same, and says nothing of its abilities."""
        unknown = profile(("openai", "my-own-finetune"))
        assert unknown == {"max_input_tokens": DEFAULT_MAX_INPUT_TOKENS, "structured_output": False}


class TestAbilities:
    def test_ability_must_be_common(self) -> None:
        """What one deployment cannot do, the handle cannot promise."""
        assert profile(GPT)["image_inputs"] is True
        assert profile(GPT, ("openai", "gpt-3.5-turbo"))["image_inputs"] is False

    def test_unknown_ability_stays_unsaid(self) -> None:
        """Left out means unknown to LangChain, which then asks the model; False would forbid."""
        assert "image_inputs" not in profile(GPT, ("openai", "my-own-finetune"))

    @pytest.mark.parametrize("model", ["gemini-2.5-flash", "gemini-1.5-pro"])
    def test_older_gemini_has_no_schema_beside_tools(self, model: str) -> None:
        """Agents then ask for structured output by a tool."""
        assert profile(("vertex-ai", model))["structured_output"] is False

    def test_newer_gemini_has(self) -> None:
        """From 3 on it takes both."""
        assert profile(("vertex-ai", "gemini-3-pro-preview"))["structured_output"] is True

    def test_snowflake_is_asked_by_tool(self) -> None:
        """What litellm does not pass on is not promised."""
        assert profile(("snowflake-cortex", "claude-3-5-sonnet"))["structured_output"] is False


class TestOverride:
    def test_row_wins(self) -> None:
        """`llm_profile` and a fallback's `profile` state what no map knows, or gets wrong."""
        mended = deployment("openai", "my-own-finetune", profile={"max_input_tokens": 9_000, "image_inputs": True})
        assert profile(mended)["max_input_tokens"] == 9_000
        assert profile(mended)["image_inputs"] is True
        assert profile(GPT, mended)["max_input_tokens"] == 9_000
        assert profile(deployment(*GPT, profile={"image_inputs": False}))["image_inputs"] is False

    def test_azure_deployment_is_known_by_its_base_model(self) -> None:
        """A deployment's name says nothing, its base model does."""
        named = deployment("azure-openai", "prod-chat", settings={"azure_openai_base_model": "gpt-4o"})
        assert profile(named)["image_inputs"] is True
        assert profile(named)["max_input_tokens"] == 128_000
        assert "image_inputs" not in profile(("azure-openai", "prod-chat"))

    def test_claude_is_the_same_on_vertex(self) -> None:
        """The cloud does not change the model."""
        assert profile(("vertex-ai", "claude-sonnet-4-6"))["max_input_tokens"] == profile(CLAUDE)["max_input_tokens"]


class TestAlways:
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(sorted(PROVIDERS)),
                st.text(max_size=40),
                st.dictionaries(
                    st.sampled_from([*ModelProfile.__annotations__, "future_ability"]),
                    st.booleans() | st.integers(0, 10**7),
                ),
            ),
            min_size=1,
            max_size=4,
        )
    )
    def test_profile_is_a_dict_with_a_limit_whatever_the_rows_say(
        self, rows: list[tuple[str, str, dict[str, Any]]]
    ) -> None:
        """It never raises, is a real dict and always has an input limit: agents are built on it."""
        found = profile(*(deployment(provider, model, profile=override) for provider, model, override in rows))
        assert type(found) is dict
        assert type(found["max_input_tokens"]) is int
        assert found["max_input_tokens"] > 0

    def test_profile_needs_no_litellm_in_memory(self) -> None:
        """Litellm's list is read from its package as data: a process of the native engine never imports it."""
        child = subprocess.run([sys.executable, "-c", UNLOADED], capture_output=True, text=True, check=True)
        assert json.loads(child.stdout) == [profile(GPT)["max_input_tokens"], False]
