"""A plain secret in a setting is found where it stands, before anything is written; nothing repeats it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from liverouter.config.plain_secrets import plain_secrets

if TYPE_CHECKING:
    from collections.abc import Sequence

MARK = "Zx9QqPlainSecret77"
KEY = f"sk-{MARK}"


def found(name: str, value: Any) -> Sequence[str]:
    """Where in the setting, and never the secret itself."""
    problems = plain_secrets(name, value, f"settings.{name}")
    assert {p.code for p in problems} <= {"LR110"}
    assert MARK not in str(problems)
    return [p.where for p in problems]


class TestPlaces:
    def test_key_in_a_text_is_found(self) -> None:
        """A key typed into a plain field is a Problem of that field."""
        assert found("llm_model", KEY) == ["settings.llm_model"]

    def test_each_one_of_a_fallback_list_is_found(self) -> None:
        """All of them at once, each at its member, the outermost first."""
        entries = [
            {"provider": "openai", "model": KEY},
            {"provider": "openai", "model": "m", "api_key": "anything", "api_base": f"https://u:{MARK}@h"},
            {"provider": "openai", "model": "m", "profile": {"note": [f"Bearer {MARK}"]}},
        ]
        assert found("llm_fallback_config", entries) == [
            "settings.llm_fallback_config[0].model",
            "settings.llm_fallback_config[1].api_base",
            "settings.llm_fallback_config[1].api_key",
            "settings.llm_fallback_config[2].profile.note[0]",
        ]

    def test_member_named_by_a_key_is_not_named(self) -> None:
        """Where the key is the member's name, the place leaves it out."""
        assert found("llm_profile", {KEY: 1}) == ["settings.llm_profile.…"]

    def test_key_in_place_of_a_reference_is_found(self) -> None:
        """A key where the name of a secret belongs is no reference."""
        entry = {"provider": "openai", "model": "m", "api_key": {"secret": KEY}}
        assert "settings.llm_fallback_config.api_key" in found("llm_fallback_config", entry)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("llm_model", "claude-sonnet-4-6"),
            ("llm_model", "task-and-desk-sk"),
            ("openai_api_base", "https://host:8443/v1?api-version=2"),
            ("llm_max_tokens", 4096),
            ("llm_fallback_config", {"provider": "openai", "model": "m", "api_key": {"secret": "openai_api_key_2"}}),
            ("llm_fallback_config", {"provider": "openai", "model": "m", "api_key": None, "cost_per_token": 0.1}),
            ("llm_fallback_config", None),
        ],
    )
    def test_honest_value_passes(self, name: str, value: Any) -> None:
        """What a config really holds is none of it."""
        assert found(name, value) == []

    def test_depth_ends_nothing(self) -> None:
        """A value nested deeper than calls may be is judged as well."""
        value: Any = KEY
        for _ in range(50_000):
            value = [value]
        assert len(found("llm_profile", value)) == 1
