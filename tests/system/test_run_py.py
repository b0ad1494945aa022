"""run.py: what it starts, when it installs, and what it says when it cannot. No test here reaches the network."""

from __future__ import annotations

import ast
import fcntl
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
TOOLS: Final = ("liverouter", "lint-imports", "mkdocs", "mypy", "ruff", "uv")

# Says its name and arguments; fails when its name stands in FAILING.
_TOOL: Final = """\
#!/bin/sh
echo "$(basename "$0") $*"
case " $FAILING " in *" $(basename "$0") "*) exit 3 ;; esac
"""


class Checkout:
    """A checkout in a folder with a space, whose environment holds stand-ins for the tools."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.venv = root / ".venv"
        (root / "tests").mkdir(parents=True)
        for name in ("run.py", "pyproject.toml", "requirements.lock"):
            shutil.copy(ROOT / name, root / name)
        (root / "tests" / "alembic_check.py").write_text("print('alembic check')\n")
        bin_dir = self.venv / "bin"
        bin_dir.mkdir(parents=True)
        tools = dict.fromkeys(TOOLS, _TOOL) | {"python": f'#!/bin/sh\nexec "{sys.executable}" "$@"\n'}
        for name, script in tools.items():
            (bin_dir / name).write_text(script)
            (bin_dir / name).chmod(0o755)
        self.mark_installed()

    def mark_installed(self) -> None:
        """Write what the end of an installation writes."""
        stamp = runpy.run_path(str(self.root / "run.py"))["stamp"]
        (self.venv / "liverouter-stamp").write_text(stamp())

    def start(self, *arguments: str, **more: str) -> subprocess.Popen[str]:
        """Start run.py with neither index nor cache, so that every installation fails at once."""
        offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull, "UV_OFFLINE": "1"}
        return subprocess.Popen(
            [sys.executable, self.root / "run.py", *arguments],
            env=os.environ | offline | {"UV_CACHE_DIR": str(self.root / "cache")} | more,
            cwd=self.root.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        process = self.start(*arguments, **more)
        out, err = process.communicate(timeout=150)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture(scope="module")
def no_pip(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What makes Python find no pip: with it every installation ends where it begins."""
    folder = tmp_path_factory.mktemp("broken")
    (folder / "pip.py").write_text("raise SystemExit(1)")
    return {"PYTHONPATH": str(folder)}


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A checkout whose environment is up to date."""
    return Checkout(tmp_path / "my clone")


class TestCommandLine:
    def test_no_command_prints_usage_and_fails(self, checkout: Checkout) -> None:
        """Without a command the usage goes to standard error, with exit code 2."""
        result = checkout.run()
        assert (result.returncode, result.stdout) == (2, "")
        assert result.stderr.startswith("usage: python3 run.py COMMAND")

    def test_help_prints_usage(self, checkout: Checkout) -> None:
        """Asked for, the usage goes to standard output, names every command and installs nothing."""
        shutil.rmtree(checkout.venv)
        result = checkout.run("--help")
        assert result.returncode == 0
        assert all(f"\n  {name} " in result.stdout for name in ("demo", "test", "check", "bench", "soak", "lock"))
        assert not checkout.venv.exists()

    def test_unknown_command_is_refused_before_anything_is_installed(self, checkout: Checkout) -> None:
        """A typing error costs no installation."""
        shutil.rmtree(checkout.venv)
        result = checkout.run("tset")
        assert result.returncode == 2
        assert "'tset' is not a command" in result.stderr
        assert not checkout.venv.exists()

    def test_old_python_is_told_which_one_it_needs(self, checkout: Checkout) -> None:
        """Python 3.10 gets a sentence with its own version and a newer one to try, not a traceback."""
        pretend = "import runpy, sys; sys.version_info = (3, 10, 4); runpy.run_path(sys.argv[1], run_name='__main__')"
        command = [sys.executable, "-c", pretend, str(checkout.root / "run.py"), "demo"]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 1
        assert "needs Python 3.11 or newer; this is 3.10.4" in result.stderr
        assert "Traceback" not in result.stderr

    def test_old_python_can_read_the_file(self) -> None:
        """That sentence is reached, because the syntax is the one of Python 3.7."""
        ast.parse((ROOT / "run.py").read_text(), feature_version=(3, 7))


class TestCommands:
    def test_demo_gets_the_arguments_and_gives_its_exit_code(self, checkout: Checkout) -> None:
        """run.py becomes the program that it starts; nothing of its own is printed."""
        result = checkout.run("demo", "--keep", "two words", FAILING="liverouter")
        assert (result.returncode, result.stdout, result.stderr) == (3, "liverouter demo --keep two words\n", "")

    def test_test_runs_pytest_in_the_checkout(self, checkout: Checkout) -> None:
        """`test` is pytest with the arguments given, whatever the current folder is."""
        (checkout.root / "tests" / "test_it.py").write_text("def test_it(): pass\n")
        (checkout.root / "pyproject.toml").write_text("")
        checkout.mark_installed()
        result = checkout.run("test", "tests/test_it.py", "-q", PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")  # they take seconds
        assert "1 passed" in result.stdout, result

    @pytest.mark.parametrize(("end", "resolution"), [("newest", "highest"), ("oldest", "lowest-direct")])
    def test_litellm_of_the_lock_is_not_installed_twice(self, checkout: Checkout, end: str, resolution: str) -> None:
        """Where an end of the range resolves to what the lock has, `.venv` serves; a path replaces the usual tests."""
        (checkout.root / "tests" / "test_it.py").write_text("def test_it(): pass\n")
        (checkout.root / "pyproject.toml").write_text("")
        checkout.mark_installed()
        quick = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        result = checkout.run("test", "--litellm", end, "tests/test_it.py", "-q", **quick)
        assert "1 passed" in result.stdout, result
        assert f"--resolution={resolution}" in result.stdout.splitlines()[0]
        assert not (checkout.root / f".venv-litellm-{end}").exists()

    def test_oldest_litellm_is_resolved_once(self, checkout: Checkout) -> None:
        """Its environment is known by its stamp: a later run asks nobody, and runs the tests that touch litellm."""
        folder = checkout.root / ".venv-litellm-oldest"
        (folder / "bin").mkdir(parents=True)
        (folder / "bin" / "python").write_text('#!/bin/sh\necho "python $*"\n')
        (folder / "bin" / "python").chmod(0o755)
        shutil.copy(checkout.venv / "liverouter-stamp", folder / "liverouter-stamp")
        result = checkout.run("test", "--litellm", "oldest", "-q", FAILING="uv")
        assert result.returncode == 0, result
        assert result.stdout.startswith("python -m pytest tests/")
        assert result.stdout.endswith(" -q\n")
        assert all((ROOT / path).exists() for path in result.stdout.split()[3:-1])

    def test_litellm_that_cannot_be_resolved_is_told(self, checkout: Checkout) -> None:
        """Without an index nothing is run; nor is it where the end of the range is none."""
        result = checkout.run("test", "--litellm", "newest", FAILING="uv")
        assert (result.returncode, "The newest litellm cannot be resolved" in result.stderr) == (1, True)
        assert checkout.run("test", "--litellm", "newer").returncode == 2

    def test_check_runs_every_check_and_names_those_that_failed(self, checkout: Checkout) -> None:
        """One failure does not hide the next; the exit code tells."""
        result = checkout.run("check", FAILING="mypy lint-imports")
        assert result.returncode == 1
        assert [
            re.sub("(?<=uv tool run ).*", "", line) for line in result.stdout.splitlines() if line[:3] != "== "
        ] == [
            "ruff check",
            "ruff format --check",
            "mypy ",
            *("uv tool run ", "uv tool run ", "uv tool run "),
            "lint-imports ",
            "alembic check",
            "mkdocs build --config-file=.mkdocs.yml --quiet",
        ]
        assert result.stdout.endswith("== failed: mypy, import-linter\n")

    def test_check_passes_when_all_pass(self, checkout: Checkout) -> None:
        """Exit code 0 means that every check passed."""
        result = checkout.run("check")
        assert (result.returncode, result.stdout.splitlines()[-1]) == (0, "== all checks passed")

    def test_check_takes_no_arguments(self, checkout: Checkout) -> None:
        """Somebody who wants one check only is not given all of them silently."""
        assert checkout.run("check", "mypy").returncode == 2

    def test_lock_names_no_host(self, checkout: Checkout) -> None:
        """The lock is made with hashes and without any index; further arguments go to uv."""
        result = checkout.run("lock", "--upgrade")
        assert result.stdout.startswith("uv pip compile pyproject.toml ")
        assert {"--generate-hashes", "--no-emit-index-url", "--upgrade"} <= set(result.stdout.split())

    @pytest.mark.parametrize(("command", "path"), [("bench", "tests/bench/run.py"), ("soak", "tests/faults/soak.py")])
    def test_script_gets_the_arguments(self, checkout: Checkout, command: str, path: str) -> None:
        """`bench` and `soak` are scripts of the checkout; one that is missing is named."""
        assert f"{path} is missing" in checkout.run(command).stderr
        (checkout.root / path).parent.mkdir()
        (checkout.root / path).write_text("import sys; print(sys.argv[1:])")
        assert checkout.run(command, "--seconds", "3").stdout == "['--seconds', '3']\n"


class TestEnvironment:
    @pytest.mark.parametrize("name", ["pyproject.toml", "requirements.lock"])
    def test_change_of_the_dependencies_installs_again(
        self, checkout: Checkout, no_pip: dict[str, str], name: str
    ) -> None:
        """What is asked for is part of the stamp; an environment that can be built upon is not thrown away."""
        with (checkout.root / name).open("a") as file:
            file.write("# changed\n")
        result = checkout.run("demo", **no_pip)
        assert "setting up" in result.stderr
        assert (checkout.venv / "bin" / "liverouter").exists()

    def test_failed_installation_is_told(self, checkout: Checkout) -> None:
        """Without an index run.py gives the installer's reason and its own, and starts nothing."""
        lines = (checkout.root / "requirements.lock").read_text().partition("\nuv==")
        (checkout.root / "requirements.lock").write_text("".join(lines[1:]).lstrip())  # the shortest lock there is
        (checkout.venv / "liverouter-unfinished").touch()
        result = checkout.run("demo")
        assert (result.returncode, result.stdout) == (1, "")
        assert "No matching distribution found" in result.stderr
        assert "The installation failed" in result.stderr

    def test_unfinished_installation_is_never_used(self, checkout: Checkout, no_pip: dict[str, str]) -> None:
        """Half an environment is thrown away, even if it holds the stamp of an earlier, finished one."""
        (checkout.venv / "liverouter-unfinished").touch()
        result = checkout.run("demo", **no_pip)
        assert (result.returncode, result.stdout) == (1, "")
        assert "setting up" in result.stderr
        assert not (checkout.venv / "bin" / "liverouter").exists()

    def test_moved_checkout_gets_a_new_environment(
        self, checkout: Checkout, no_pip: dict[str, str], tmp_path: Path
    ) -> None:
        """The scripts of an environment name its path, so it is made anew where it was moved."""
        checkout.root.rename(tmp_path / "moved")
        checkout.root, checkout.venv = tmp_path / "moved", tmp_path / "moved" / ".venv"
        result = checkout.run("demo", **no_pip)
        assert "setting up" in result.stderr
        assert not (checkout.venv / "bin" / "liverouter").exists()

    def test_environment_of_a_vanished_python_is_made_anew(self, checkout: Checkout, no_pip: dict[str, str]) -> None:
        """After an upgrade of the system's Python the link in the environment leads nowhere."""
        (checkout.venv / "bin" / "python").unlink()
        (checkout.venv / "bin" / "python").symlink_to("/nonexistent/python")
        checkout.run("demo", **no_pip)
        assert (checkout.venv / "bin" / "python").exists()

    def test_python_without_pip_is_told_what_to_install(self, checkout: Checkout, no_pip: dict[str, str]) -> None:
        """The one thing that run.py cannot bring along is named with its package."""
        (checkout.venv / "liverouter-stamp").unlink()
        result = checkout.run("demo", **no_pip)
        assert result.returncode == 1
        assert "apt-get install python3-pip" in result.stderr

    def test_second_run_waits_for_the_first_and_uses_its_work(self, checkout: Checkout) -> None:
        """Two at once do not install over each other."""
        (checkout.venv / "liverouter-stamp").unlink()
        with (checkout.root / "run.py").open("r+") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            process = checkout.start("demo")
            assert process.stderr is not None
            assert "another run is setting up" in process.stderr.readline()
            checkout.mark_installed()
        out, err = process.communicate(timeout=150)
        assert (process.returncode, out, err) == (0, "liverouter demo\n", "")

    def test_folder_that_cannot_be_used_is_told(self, checkout: Checkout, no_pip: dict[str, str]) -> None:
        """What the file system refuses comes as a sentence with its path, not as a traceback."""
        shutil.rmtree(checkout.venv)
        checkout.venv.touch()
        result = checkout.run("demo", **no_pip)
        assert result.returncode == 1
        assert f"{checkout.venv} cannot be set up" in result.stderr
        assert "Traceback" not in result.stderr


class TestLock:
    def test_every_package_is_pinned_with_hashes_and_no_host(self) -> None:
        """What is installed is what was tested, from whatever index."""
        text = (ROOT / "requirements.lock").read_text()
        packages = [line for line in text.splitlines() if line and not line.startswith(" ")]
        assert len(packages) > 100
        assert all("==" in line and line.endswith("\\") for line in packages)
        assert "://" not in text
