"""The documentation's operator questions are answered as it shows, by real processes and psql."""

from __future__ import annotations

from tests.docs.blocks import filled
from tests.docs.operators import BLOCK, QUESTIONS, WIDTH, answers
from tests.kit import pages

MEND = "python -m tests.docs.operators writes it anew"


class TestOperators:
    def test_each_question_is_one_query_whose_answer_is_shown(self, dsn: str) -> None:
        """Three processes, one without a key, one frozen: every line that psql prints stands in its page."""
        shown = answers(dsn)
        text = pages.text()
        assert filled(text, {BLOCK: shown}) == text, MEND
        assert max(map(len, shown.splitlines())) <= WIDTH

    def test_each_question_is_one_statement(self) -> None:
        """No scripts: what an operator types is one query."""
        for query in QUESTIONS.values():
            assert query.removesuffix(" \\gx").rstrip(";").count(";") == 0
            assert query.endswith((";", "\\gx"))
