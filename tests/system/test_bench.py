"""The benchmark runs. How fast anything is, no test says: that depends on the machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

RUN = Path(__file__).parents[1] / "bench" / "run.py"


@pytest.mark.timeout(600)  # on a busy machine
def test_bench_measures_both_engines_beside_what_they_replace(tmp_path: Path) -> None:
    """One quick look gives a line of the table for each kind of call against each baseline."""
    out = tmp_path / "bench.json"
    command = [sys.executable, str(RUN), "calls", "--scale", "0.01", "--json", str(out)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=580, cwd=tmp_path).stdout
    figures: list[dict[str, Any]] = json.loads(out.read_text())["figures"]
    assert all(f"| {figure['what']} |" in printed for figure in figures)
    assert all(figure["ours"] >= 0 for figure in figures)
    seen = {(f["what"].partition(":")[0], f["what"].rpartition(", ")[2], f["against"]) for f in figures}
    pairs = [
        ("native engine", "ChatOpenAI"),
        ("native engine", "ChatOpenAI.with_fallbacks"),
        ("litellm engine", "ChatLiteLLMRouter on a stock Router"),
        ("litellm engine", "a stock Router"),
    ]
    kinds = ("ainvoke", "ainvoke, 50 callers", "invoke", "astream, 224 chunks", "stream, 224 chunks")
    assert seen >= {(kind, engine, baseline) for kind in kinds for engine, baseline in pairs}
