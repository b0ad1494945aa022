"""The table of what each provider is told of a request, made from what a run of the matrix measured.

`python -m tests.integration.same_table` runs the matrix and writes the table.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.kit.pages import ROOT, rewrite

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE: Final = "LIVEROUTER_TEST_SAME_TABLE"  # where the matrix writes what it measured
_MATRIX: Final = Path(__file__).with_name("test_same_request.py")
_BLOCK: Final = re.compile(r"(<!-- measured: same -->\n).*?(\n<!-- end measured -->)", re.DOTALL)


def markdown(rows: Mapping[str, Mapping[str, Mapping[str, Mapping[str, str]]]]) -> str:
    """Return the table: per kind of request and dialect what became of it, by engine where they differ.

    *rows*: feature -> dialect -> engine -> position -> cell; it is the same in all positions.
    """
    dialects = list(dict.fromkeys(name for cells in rows.values() for name in cells))
    lines = [["what is asked for", *dialects], ["---"] * (1 + len(dialects))]
    lines += [[feature, *(_cell(cells.get(name, {})) for name in dialects)] for feature, cells in rows.items()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(engines: Mapping[str, Mapping[str, str]]) -> str:
    """Return one cell: "by a tool (native: by its schema)" where the engines differ."""
    litellm, native = (next(iter(engines.get(name, {}).values()), "") for name in ("litellm", "native"))
    return litellm if litellm == native else f"{litellm} (native: {native})"


def filled(text: str, table: str) -> str:
    """Return *text* with its table replaced by *table*."""
    return _BLOCK.sub(lambda match: f"{match[1]}{table}{match[2]}", text)


def main() -> None:
    """Run the matrix and write the table into its page."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "measured.json"
        command = [sys.executable, "-m", "pytest", "-q", str(_MATRIX), "-k", "whoever_is_asked"]
        subprocess.run(command, env={**os.environ, VARIABLE: str(path)}, cwd=ROOT, check=True)
        rows = json.loads(path.read_text(encoding="utf-8"))
    rewrite(lambda page: filled(page, markdown(rows)))


if __name__ == "__main__":
    main()
