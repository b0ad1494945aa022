"""The documentation's failover table, made from what a run of the matrix measured.

`python -m tests.integration.failover_table` runs the matrix and writes the table.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.kit.pages import ROOT, rewrite

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE: Final = "LIVEROUTER_TEST_FAILOVER_TABLE"  # where the matrix writes what it measured
_MATRIX: Final = Path(__file__).with_name("test_failover_matrix.py")
_BLOCK: Final = re.compile(r"(<!-- measured: failover -->\n).*?(\n<!-- end measured -->)", re.DOTALL)
_WORDS: Final = {  # what the primary does, by the stand-in's name for it
    "refused": "refuses the connection",
    "blackhole": "swallows the connection",
    "hang": "never answers",
    "reset": "resets the connection",
    "400": "400",
    "400-context-window": "400, context window",
    "400-content-policy": "400, content policy",
    "429-retry-after": "429 with Retry-After",
    "out-of-money": "is out of money",
    "disabled": "has closed the account",
    "unknown-model": "does not know the model",
    "malformed": "200 with broken JSON",
    "empty": "200 with no body",
    "html": "200 with an HTML page",
    "refusal": "200, refuses to answer",
    "error-event": "200, then an error event",
    "preamble": "200, ends before content",
    "stall": "200, then silence",
}
_COOLS: Final = {"no": "no", "at once": "at once", "counted": "at the n-th"}


def markdown(rows: Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]]) -> str:
    """Return the table: per failure and provider the requests that one failing call cost the primary.

    *rows*: failure -> dialect -> engine -> what was measured. One number where the engines agree.
    """
    dialects = list(dict.fromkeys(name for cells in rows.values() for name in cells))
    lines = [["the primary", "cools", *dialects], ["---"] * (2 + len(dialects))]
    for failure in sorted(rows, key=list(_order(rows)).index):
        cells = rows[failure]
        cools = next(cell["cools"] for engines in cells.values() for cell in engines.values())
        hits = [_hits(cells.get(name, {})) for name in dialects]
        lines.append([_WORDS.get(failure, failure), _COOLS[cools], *hits])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _hits(engines: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the requests of one cell, by engine where they differ: "2 (native 1)"."""
    hits = {engine: cell["primary_hits"] for engine, cell in engines.items()}
    if len(set(hits.values())) < 2:
        return str(next(iter(hits.values()), ""))
    return f"{hits['litellm']} (native {hits['native']})"


def _order(rows: Mapping[str, Any]) -> list[str]:
    from liverouter.testing import Failure

    return [kind.value for kind in Failure if kind.value in rows]


def filled(text: str, table: str) -> str:
    """Return *text* with its table replaced by *table*."""
    return _BLOCK.sub(lambda match: f"{match[1]}{table}{match[2]}", text)


def main() -> None:
    """Run the matrix and write the table into its page."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "measured.json"
        command = [sys.executable, "-m", "pytest", "-q", str(_MATRIX), "-k", "TestPrimaryFails"]
        subprocess.run(command, env={**os.environ, VARIABLE: str(path)}, cwd=ROOT, check=True)
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    rewrite(lambda page: filled(page, markdown(rows)))


if __name__ == "__main__":
    main()
