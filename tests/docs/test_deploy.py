"""What stands under deploy/ starts what there is, checked as far as it can be without the hosts it is for."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import yaml  # type: ignore[import-untyped]  # its stubs are a package of their own
from packaging.specifiers import SpecifierSet

from liverouter.cli.app import cli
from liverouter.options import OPTIONS
from liverouter.secrecy.sealing import generate_key
from tests.kit import pages
from tests.kit.daemon import Daemon
from tests.kit.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER: Final = pages.ROOT / "deploy"
VARIABLES: Final = {option.variable for option in OPTIONS.values()}


def read(name: str) -> str:
    """Return the file *name*."""
    return (FOLDER / name).read_text(encoding="utf-8")


def command(name: str) -> click.Command:
    """Return the command *name*."""
    found = cli.get_command(click.Context(cli), name)
    assert found is not None
    return found


class TestDeploy:
    def test_kubernetes_manifest_and_container_serve(self, dsn: str, tmp_path: Path) -> None:
        """The container's command serves with the manifest's variables and files: probes by address, else by token."""
        found = next(yaml.safe_load_all(read("kubernetes.yaml")))["spec"]["template"]["spec"]
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
        (host,) = re.findall(r'"--host", "([0-9.]+)"', read("Dockerfile"))
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
            assert files["admin-token"] not in " ".join(daemon.said)
            assert not (tmp_path / "data").exists(), "none is made, and so none kept"
            assert config["environment"]["anthropic_api_key"]["source"] == f"file {tmp_path}/anthropic"

    def test_container_file_names_what_there_is(self) -> None:
        """Its Python is new enough, its extras exist, its command is one, and its port is the one served by default."""
        text = read("Dockerfile")
        project = tomllib.loads((pages.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        (version,) = {*re.findall(r"^FROM python:([0-9.]+)-slim", text, re.MULTILINE)}
        assert SpecifierSet(project["requires-python"]).contains(version)
        (extras,) = re.findall(r"\[([a-z,-]+)\]\"", text)
        assert set(extras.split(",")) <= set(project["optional-dependencies"])
        (line,) = re.findall(r"^CMD (.*)$", text, re.MULTILINE)
        program, name, *options = json.loads(line)
        assert program in project["scripts"]
        serve = command(name).make_context(name, options)
        assert f"EXPOSE {serve.params['port']}\n" in text

    def test_systemd_unit_is_accepted(self, needs_program: Callable[..., Path], tmp_path: Path) -> None:
        """Systemd itself reads the unit, but for the program that is not installed there."""
        program = needs_program("systemd-analyze", package="systemd")
        unit = tmp_path / "liverouter.service"
        text = read("liverouter.service")
        unit.write_text(text.replace("/opt/liverouter/bin/liverouter", "/bin/true"), encoding="utf-8")
        done = subprocess.run([program, "verify", unit], capture_output=True, text=True, timeout=150, check=False)
        assert str(unit.name) not in done.stderr, done.stderr

    def test_compose_file_starts_what_there_is(self) -> None:
        """Its commands exist, each secret that a service reads is one it is given, and each variable is an option."""
        found = yaml.safe_load(read("compose.yaml"))
        ours = {name: service for name, service in found["services"].items() if service["image"] == "liverouter"}
        assert set(ours) == {"migrate", "page", "service"}
        for service in found["services"].values():
            files = [value for value in service["environment"].values() if value.startswith("/run/secrets/")]
            assert {Path(value).name for value in files} == set(service["secrets"]) <= set(found["secrets"])
        for service in ours.values():
            assert {name.removesuffix("_FILE") for name in service["environment"]} <= {
                *VARIABLES,
                "LIVEROUTER_ADMIN_TOKEN",
            }
            program, name, *_ = service.get(
                "command", json.loads(re.findall(r"^CMD (.*)$", read("Dockerfile"), re.MULTILINE)[0])
            )
            assert program == "python" or name in cli.list_commands(click.Context(cli))
        (mount,) = ours["service"]["volumes"]
        assert (FOLDER / mount.split(":")[0]).is_file()
