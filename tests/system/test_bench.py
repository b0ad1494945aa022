"""The benchmark runs. How fast anything is, no test says: that depends on the machine."""

from __future__ import annotations

import json
import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

SET = ("LITELLM_MODE", "LITELLM_LOCAL_MODEL_COST_MAP", "LIVEROUTER_LOG_LEVEL")  # by the benchmark, for its process


@pytest.mark.filterwarnings("ignore")  # what is compared with is others' code
@pytest.mark.timeout(600)  # on a busy machine
def test_bench_measures_both_engines_beside_what_they_replace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One quick look gives a line of the table for each kind of call against each baseline."""
    out = tmp_path / "bench.json"
    for name in SET:
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(logging, "disable", lambda _: None)
    assert import_module("tests.bench.run").main(["calls", "--scale", "0.01", "--json", str(out)]) == 0
    printed = capsys.readouterr().out
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
