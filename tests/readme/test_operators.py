"""The README's operator questions are answered as it shows, by real processes and psql."""

from __future__ import annotations

from tests.readme.blocks import README, filled
from tests.readme.operators import BLOCK, QUESTIONS, WIDTH, answers

MEND = "python -m tests.readme.operators writes it anew"


class TestOperators:
    def test_each_question_is_one_query_whose_answer_the_readme_shows(self, dsn: str) -> None:
        """Three processes, one without a key, one frozen: every line that psql prints stands in the README."""
        shown = answers(dsn)
        text = README.read_text(encoding="utf-8")
        assert filled(text, {BLOCK: shown}) == text, MEND
        assert max(map(len, shown.splitlines())) <= WIDTH

    def test_each_question_is_one_statement(self) -> None:
        """No scripts: what an operator types is one query."""
        for query in QUESTIONS.values():
            assert query.removesuffix(" \\gx").rstrip(";").count(";") == 0
            assert query.endswith((";", "\\gx"))
