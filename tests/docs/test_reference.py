"""The reference says what the code says."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml  # type: ignore[import-untyped]  # its stubs are a package of their own
from packaging.specifiers import SpecifierSet

from liverouter.cli.app import cli
from liverouter.secrecy.sealing import generate_key
from tests.docs import blocks
from tests.kit import pages
from tests.kit.daemon import Daemon
from tests.kit.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable


TEXT = pages.text()
MEND = "python -m tests.docs.blocks writes it anew"


def checked(mark: str, language: str) -> str:
    """Return the block of a page that is marked so."""
    text: str = TEXT.partition(f"<!-- check: {mark} -->\n```{language}\n")[2].partition("```")[0]
    return text


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
        assert blocks.names(TEXT) == {*blocks.PURE, "sql", "operators"}


class TestDeploy:
    def test_kubernetes_snippet_and_container_serve(self, dsn: str, tmp_path: Path) -> None:
        """The container's command serves with the snippet's variables and files: probes by address, else by token."""
        found = yaml.safe_load(checked("yaml", "yaml"))
        (container,) = found["containers"]
        (mount,) = container["volumeMounts"]
        assert [volume["name"] for volume in found["volumes"]] == [mount["name"]]
        files = {
            "admin-token": "a-long-random-token",
            "keyring": generate_key(),
            "anthropic": "sk-ant-0123456789abcdef",
        }
        for name, text in files.items():
            (tmp_path / name).write_text(f"{text}\n", encoding="utf-8")
        environment = {
            v["name"]: v.get("value", dsn).replace(mount["mountPath"], str(tmp_path)) for v in container["env"]
        }
        assert {Path(path).name for path in environment.values() if path != dsn} == set(files)
        (host,) = re.findall(r'"--host", "([0-9.]+)"', checked("container", "dockerfile"))
        with Daemon("--host", host, log=tmp_path / "log", **environment) as daemon:
            daemon.url = daemon.url.replace(host, "127.0.0.1")
            pod = {"Host": f"10.1.2.3:{container['ports'][0]['containerPort']}"}  # as the kubelet asks
            probes = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("liveness", "readiness")}
            assert daemon.get(probes["liveness"], headers=pod).status_code == 200
            until(lambda: daemon.get(probes["readiness"], headers=pod).json()["degraded"] == ["LR100"])
            assert daemon.get("/api/config", headers=pod).status_code == 401
            token = {"Authorization": f"Bearer {files['admin-token']}"}
            config = daemon.get("/api/config", headers=pod | token).json()
            assert config["can_seal"]
            assert config["environment"]["anthropic_api_key"]["source"] == f"file {tmp_path}/anthropic"

    def test_container_file_names_what_there_is(self) -> None:
        """Its Python is new enough, its extras exist, its command is one, and its port is the one served by default."""
        text = checked("container", "dockerfile")
        project = tomllib.loads((pages.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        (version,) = re.findall(r"^FROM python:([0-9.]+)-slim$", text, re.MULTILINE)
        assert SpecifierSet(project["requires-python"]).contains(version)
        (extras,) = re.findall(r"liverouter\[([a-z,-]+)\]", text)
        assert set(extras.split(",")) <= set(project["optional-dependencies"])
        (command,) = re.findall(r"^CMD (.*)$", text, re.MULTILINE)
        program, name, *options = json.loads(command)
        assert program in project["scripts"]
        serve = cli.commands[name].make_context(name, options)
        assert f"EXPOSE {serve.params['port']}\n" in text

    def test_systemd_unit_is_accepted(self, needs_program: Callable[..., Path], tmp_path: Path) -> None:
        """Systemd itself reads the unit, but for the program that is not installed there."""
        program = needs_program("systemd-analyze", package="systemd")
        unit = tmp_path / "liverouter.service"
        text = checked("systemd", "ini")
        unit.write_text(text.replace("/opt/liverouter/bin/liverouter", "/bin/true"), encoding="utf-8")
        done = subprocess.run([program, "verify", unit], capture_output=True, text=True, timeout=150, check=False)
        assert str(unit.name) not in done.stderr, done.stderr
