"""The README's reference says what the code says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType


def _blocks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("readme_blocks", Path(__file__).with_name("blocks.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


blocks = _blocks()
TEXT = blocks.README.read_text(encoding="utf-8")
MEND = "python tests/readme/blocks.py writes it anew"


class TestReference:
    @pytest.mark.parametrize("name", sorted(blocks.PURE))
    def test_block_is_what_the_code_says(self, name: str) -> None:
        """Settings, options, events, errors and commands stand in the README as they are in the code."""
        assert blocks.filled(TEXT, {name: blocks.PURE[name]()}) == TEXT, MEND

    def test_sql_block_is_what_the_database_says(self, dsn: str) -> None:
        """Views, columns and functions stand in the README as the migrations make them."""
        assert blocks.filled(TEXT, {"sql": blocks.sql(dsn)}) == TEXT, MEND

    def test_every_block_is_known(self) -> None:
        """No block of the README is one that nothing fills."""
        assert blocks.names(TEXT) == {*blocks.PURE, "sql"}
