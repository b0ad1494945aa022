"""The reference says what the code says."""

from __future__ import annotations

import json
import re

import pytest

import liverouter
from tests.bench import page
from tests.docs import blocks
from tests.kit import pages

TEXT = pages.text()
MEND = "python -m tests.docs.blocks writes it anew"


class TestReference:
    @pytest.mark.parametrize("name", sorted(blocks.PURE.keys() - {"faults"}))
    def test_block_is_what_the_code_says(self, name: str) -> None:
        """Settings, options, events, errors and commands stand in their page as they are in the code."""
        assert blocks.filled(TEXT, {name: blocks.PURE[name]()}) == TEXT, MEND

    def test_sql_block_is_what_the_database_says(self, dsn: str) -> None:
        """Views, columns and functions stand in their page as the migrations make them."""
        assert blocks.filled(TEXT, {"sql": blocks.sql(dsn)}) == TEXT, MEND

    def test_every_fault_of_the_table_is_injected(self) -> None:
        """The table promises nothing that no test holds to, in the test's own words."""
        told = TEXT.partition("<!-- generated: faults -->\n")[2].partition("\n<!-- end generated -->")[0].splitlines()
        assert len(told) > 30
        assert set(told) <= set(blocks.faults().splitlines()), MEND

    def test_every_block_is_known(self) -> None:
        """No block of a page is one that nothing fills."""
        assert blocks.names(TEXT) == {*blocks.PURE, "sql", "operators", *page.NAMES}

    def test_every_public_name_has_its_place(self) -> None:
        """What can be imported from `liverouter` is on the page of the Python API."""
        page = pages.section("# Python")
        assert [name for name in dir(liverouter) if not re.search(rf"\b{name}\b", page)] == []

    def test_benchmarks_are_of_one_run(self) -> None:
        """Every figure of the page is of the run that is kept beside it, and no goal is missed without a reason."""
        run = json.loads(page.RUN.read_text(encoding="utf-8"))
        assert blocks.filled(TEXT, page.blocks(run)) == TEXT, "python -m tests.bench.page writes it anew"
        assert page.UNKNOWN not in TEXT
