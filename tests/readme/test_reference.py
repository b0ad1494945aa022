"""The README's reference says what the code says."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml  # type: ignore[import-untyped]  # its stubs are a package of their own

if TYPE_CHECKING:
    from collections.abc import Callable
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
    @pytest.mark.parametrize("name", sorted(blocks.PURE.keys() - {"faults"}))
    def test_block_is_what_the_code_says(self, name: str) -> None:
        """Settings, options, events, errors and commands stand in the README as they are in the code."""
        assert blocks.filled(TEXT, {name: blocks.PURE[name]()}) == TEXT, MEND

    def test_sql_block_is_what_the_database_says(self, dsn: str) -> None:
        """Views, columns and functions stand in the README as the migrations make them."""
        assert blocks.filled(TEXT, {"sql": blocks.sql(dsn)}) == TEXT, MEND

    def test_every_fault_of_the_table_is_injected(self) -> None:
        """The table promises nothing that no test holds to, in the test's own words."""
        told = TEXT.partition("<!-- generated: faults -->\n")[2].partition("\n<!-- end generated -->")[0].splitlines()
        assert len(told) > 30
        assert set(told) <= set(blocks.faults().splitlines()), MEND

    def test_every_block_is_known(self) -> None:
        """No block of the README is one that nothing fills."""
        assert blocks.names(TEXT) == {*blocks.PURE, "sql", "operators"}


class TestDeploy:
    def test_kubernetes_snippet_is_yaml_with_the_daemons_probes(self) -> None:
        """The snippet parses, and names paths and variables that exist."""
        found = yaml.safe_load(TEXT.partition("<!-- check: yaml -->\n```yaml\n")[2].partition("```")[0])
        (container,) = found["containers"]
        assert {container[f"{p}Probe"]["httpGet"]["path"] for p in ("liveness", "readiness")} == {"/livez", "/readyz"}
        assert {v["name"] for v in found["volumes"]} == {m["name"] for m in container["volumeMounts"]}

    def test_systemd_unit_is_accepted(self, needs_program: Callable[..., Path], tmp_path: Path) -> None:
        """Systemd itself reads the unit, but for the program that is not installed there."""
        program = needs_program("systemd-analyze", package="systemd")
        unit = tmp_path / "liverouter.service"
        text = TEXT.partition("<!-- check: systemd -->\n```ini\n")[2].partition("```")[0]
        unit.write_text(text.replace("/opt/liverouter/bin/liverouter", "/bin/true"), encoding="utf-8")
        done = subprocess.run([program, "verify", unit], capture_output=True, text=True, timeout=30, check=False)
        assert str(unit.name) not in done.stderr, done.stderr
