"""What stands under deploy/ starts what there is, checked as far as it can be without the hosts it is for."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import psycopg
import pytest
import yaml  # type: ignore[import-untyped]  # its stubs are a package of their own
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from liverouter.cli.app import cli
from liverouter.options import OPTIONS
from liverouter.secrecy.sealing import generate_key
from tests.kit import pages
from tests.kit.daemon import Daemon

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


def manifests(kind: str) -> dict[str, Any]:
    """Return the objects of *kind* in the Kubernetes manifests, by their names."""
    found = yaml.safe_load_all(read("kubernetes.yaml"))
    return {one["metadata"]["name"]: one for one in found if one["kind"] == kind}


class TestKubernetes:
    """The schemas of Kubernetes itself are asked by `run.py check`."""

    def test_page_serves(self, dsn: str, tmp_path: Path) -> None:
        """The container's command serves with the manifest's variables and files: probes by address, else by token."""
        pod = manifests("Deployment")["liverouter"]["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        (folder,) = {mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "secrets"}
        files = {"database-url": dsn, "admin-token": "a-long-random-token", "keyring": generate_key()}
        for name, text in files.items():
            (tmp_path / name).write_text(f"{text}\n", encoding="utf-8")
        environment = {one["name"]: one["value"].replace(folder, str(tmp_path)) for one in container["env"]}
        assert {Path(path).name for path in environment.values()} == set(files)
        (host,) = re.findall(r'"--host", "([0-9.]+)"', read("Dockerfile"))
        with Daemon("--host", host, log=tmp_path / "log", **environment) as daemon:
            daemon.url = daemon.url.replace(host, "127.0.0.1")
            asked = {"Host": f"10.1.2.3:{container['ports'][0]['containerPort']}"}  # as the kubelet asks
            for probe in ("startup", "liveness", "readiness"):
                path = container[f"{probe}Probe"]["httpGet"]["path"]
                assert daemon.get(path, headers=asked).status_code == 200, "with no setting yet: it is made in the page"
            assert daemon.get("/api/config", headers=asked).status_code == 401
            token = {"Authorization": f"Bearer {files['admin-token']}"}
            assert daemon.get("/api/config", headers=asked | token).json()["can_seal"]
            assert files["admin-token"] not in " ".join(daemon.said)
            assert not (tmp_path / "data").exists(), "none is made, and so none kept"

    def test_containers_start_what_there_is(self) -> None:
        """Commands, options, the image's version, secrets by reference, and nobody who may more than they must."""
        version = tomllib.loads((pages.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
        assert version.replace(".", "-") in next(iter(manifests("Job")))
        for workload in (*manifests("Job").values(), *manifests("Deployment").values()):
            pod = workload["spec"]["template"]["spec"]
            (container,) = pod["containers"]
            assert pod["securityContext"]["runAsNonRoot"]
            assert not pod["automountServiceAccountToken"]
            assert container["securityContext"]["readOnlyRootFilesystem"]
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]
            image, _, tag = container["image"].partition(":")
            assert not image.endswith("/liverouter") or tag == version
            mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
            assert {volume["name"] for volume in pod["volumes"]} == mounts.keys()
            (secret,) = [volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume]
            (keys,) = re.findall(rf"^#   {secret} +((?:[a-z-]+(?:, )?)+)", read("kubernetes.yaml"), re.MULTILINE)
            for one in container["env"]:
                assert one["name"].removesuffix("_FILE") in {*VARIABLES, "LIVEROUTER_ADMIN_TOKEN"}
                if one["name"].endswith("_FILE"):
                    folder, _, name = one["value"].rpartition("/")
                    assert (folder, name in keys.split(", ")) == (mounts["secrets"], True)
            program, *rest = container.get("args", ["liverouter", "serve"])
            if program == "liverouter":
                command(rest[0]).make_context(rest[0], rest[1:])
            else:
                module = rest[0].partition(":")[0]
                assert (pages.ROOT / module.replace(".", "/")).with_suffix(".py").is_file()

    def test_services_and_budgets_select_pods(self) -> None:
        """A service reaches a port that its pods name; a budget never holds up the drain of a single replica."""
        pods = {name: one["spec"]["template"] for name, one in manifests("Deployment").items()}
        replicas = {name: one["spec"]["replicas"] for name, one in manifests("Deployment").items()}
        services = manifests("Service")
        assert services.keys() == pods.keys()
        for name, service in services.items():
            assert service["spec"]["selector"] == pods[name]["metadata"]["labels"]
            ports = [port["name"] for port in pods[name]["spec"]["containers"][0]["ports"]]
            assert [port["targetPort"] for port in service["spec"]["ports"]] == ports
        for name, budget in manifests("PodDisruptionBudget").items():
            assert budget["spec"]["selector"]["matchLabels"] == pods[name]["metadata"]["labels"]
            assert budget["spec"]["minAvailable"] < replicas[name]

    def test_logins_may_what_they_must(self, dsn: str) -> None:
        """The page's login reads, writes and looks; a service's reads and no more."""
        with psycopg.connect(dsn) as session:
            session.execute(read("logins.sql"))
            session.execute("SET LOCAL ROLE liverouter_page")
            session.execute("SELECT liverouter.set_setting('llm_model', '\"gpt-5.4\"')")
            session.execute("SELECT * FROM liverouter.problems")
            session.execute("RESET ROLE; SET LOCAL ROLE answers")
            assert session.execute("SELECT key FROM liverouter.settings").fetchall() == [("llm_model",)]
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute("DELETE FROM liverouter.settings")
            session.rollback()  # roles are the server's


class TestDeploy:
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
        assert re.findall(r"^USER (.*)$", text, re.MULTILINE) == [
            str(workload["spec"]["template"]["spec"]["securityContext"]["runAsUser"])
            for workload in manifests("Job").values()
        ]

    def test_container_s_build_is_given_what_it_needs(self, tmp_path: Path) -> None:
        """The wheel builds from what the ignore file lets through, and pip can read the versions."""
        first, *let_through = read("Dockerfile.dockerignore").split()
        assert first == "*"
        for path in (line.removeprefix("!") for line in let_through):
            (tmp_path / path).parent.mkdir(exist_ok=True)
            copy = shutil.copytree if (pages.ROOT / path).is_dir() else shutil.copy
            copy(pages.ROOT / path, tmp_path / path)
        (script,) = re.findall(r"sed (.*) requirements\.lock", read("Dockerfile"))
        build = f"{sys.executable} -m hatchling build -t wheel -d dist && sed {script} requirements.lock"
        done = subprocess.run(
            ["/bin/bash", "-c", build], cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False
        )
        assert done.returncode == 0, done.stderr
        assert len(list(tmp_path.glob("dist/liverouter-*.whl"))) == 1
        versions = {Requirement(line).name for line in done.stdout.splitlines() if "==" in line}
        assert {"litellm", "asyncpg", "uvicorn"} <= versions

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
