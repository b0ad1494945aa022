"""The quickstart works as it stands, for somebody who has nothing but the wheel."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import re
import subprocess
import sys
import tempfile
from importlib.metadata import Distribution
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from packaging.requirements import Requirement

from tests.kit import pages

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

SHELL: Final = ("/bin/bash", "-euo", "pipefail", "-c")


class Page:
    """The commands of one page, by their step, and its programs, by the names of their files."""

    def __init__(self, name: str, page: Path, **programs: str) -> None:
        """Read *page*; *programs* are the names of its blocks by those of their files."""
        text = page.read_text(encoding="utf-8")
        self.steps = dict(re.findall(rf"<!-- {name}: ([a-z-]+) -->\n```\n(.*?)```", text, re.DOTALL))
        self.programs = {
            f"{file}.py": text.partition(f"<!-- run: {block} -->\n```python\n")[2].partition("```")[0]
            for file, block in programs.items()
        }


QUICKSTART: Final = Page("quickstart", pages.README, app="quickstart")
NEXT: Final = re.findall(  # the commands of the questions that come next, in their order
    r"`(liverouter (?:set|history|diff|rollback|migrate|export)\b[^`]*)`",
    (pages.ROOT / "docs" / "how-to" / "questions.md").read_text(encoding="utf-8"),
)
TUTORIAL: Final = Page("tutorial", pages.ROOT / "docs" / "tutorial.md", app="tutorial", titles="titles")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the built wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    _do([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)])
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of programs of an environment that holds the wheel with the extras of the tutorial alone.

    What the wheel asks for is linked from the environment of the tests, where it is compiled: litellm's takes a minute.
    """
    environment = tmp_path_factory.mktemp("environment") / "venv"
    (extras,) = re.findall(r"pip install 'liverouter\[([a-z,]+)\]'", TUTORIAL.steps["install"])
    uv = [sys.executable, "-m", "uv"]
    _do([*uv, "venv", "--quiet", "--python", sys.executable, str(environment)])
    python = ("--python", str(environment / "bin" / "python"))
    _do([*uv, "pip", "install", "--quiet", "--offline", "--no-deps", *python, str(wheel)])
    (installed,) = environment.glob("lib/*/site-packages/liverouter")
    site = installed.parent
    (ours,) = Distribution.discover(name="liverouter", path=[str(site)])
    for distribution in _needed(ours, extras.split(",")):
        for name in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            if not (site / name).exists():  # parts of a namespace come by several
                (site / name).symlink_to(str(distribution.locate_file(name)))
    return environment / "bin"


def _needed(ours: Distribution, extras: Iterable[str]) -> Collection[Distribution]:
    """Return all that *ours* with *extras* asks for, and what that asks for, as it is installed here."""
    found: dict[str, Distribution] = {}
    asked = [("", ours, extra) for extra in ("", *extras)]
    seen: set[tuple[str, str]] = set()
    for name, distribution, extra in asked:  # which grows meanwhile
        if (name, extra) in seen:
            continue
        for one in map(Requirement, distribution.requires or ()):
            if one.marker is None or one.marker.evaluate({"extra": extra}):
                found[one.name] = importlib.metadata.distribution(one.name)
                asked += [(one.name, found[one.name], more) for more in ("", *one.extras)]
        seen.add((name, extra))
    return found.values()


def _do(command: list[str]) -> None:
    """Run *command* in the checkout to its end, which must be a good one."""
    done = subprocess.run(command, cwd=pages.ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr


class Reader:
    """Somebody who follows one page, in as many terminals as it says; what runs there ends with this.

    Attributes:
        ports: what stands in place of the page's ports.
    """

    def __init__(self, page: Page, programs: Path, folder: Path) -> None:
        """Follow *page* in *folder*, with *programs* on the path."""
        self._page, self._folder = page, folder
        keep = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LIVEROUTER_"))}
        self._environment = keep | {"PATH": f"{programs}:{os.environ['PATH']}"}
        self._running: list[subprocess.Popen[str]] = []
        self.ports: dict[str, str] = {}
        folder.chmod(0o755)  # root's database runs as another user
        for file, text in page.programs.items():
            (folder / file).write_text(text, encoding="utf-8")

    def _script(self, *steps: str) -> str:
        text = "".join(self._page.steps.get(step, step) for step in steps)
        for shown, port in self.ports.items():
            text = text.replace(shown, port)
        return text

    def run(self, *steps: str) -> str:
        """Run *steps*, or commands as they stand, to their end in a terminal of their own; return what they said."""
        done = subprocess.run(
            [*SHELL, self._script(*steps)],
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def start(self, *steps: str, more: str = "", **environment: str) -> Iterator[str]:
        """Start *steps*, whose last command goes on, with *more* arguments and variables; return the lines it says."""
        *before, last = self._script(*steps).strip().splitlines()
        process = subprocess.Popen(
            [*SHELL, "\n".join((*before, f"exec {last} {more}"))],
            cwd=self._folder,
            env=self._environment | environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._running.append(process)
        assert process.stdout is not None
        return iter(process.stdout)

    def start_page(self) -> None:
        """Start the settings page with its database, on a free port, and wait until it serves; by the native engine."""
        assert any("serves at" in line for line in self.start("serve", more="--port 0", LITELLM_ENABLE="false"))

    def start_provider(self, step: str, port: str) -> None:
        """Start a stand-in on a free port, which from now on stands in place of *port*."""
        self.ports[port] = "0"
        self.ports[port] = next(self.start(step)).rpartition(":")[2].partition("/")[0].strip()

    def close(self) -> None:
        """End what runs, the last first."""
        for process in reversed(self._running):
            process.terminate()
            process.communicate(timeout=90)


@pytest.fixture
def follow(programs: Path) -> Iterator[Callable[[Page], Reader]]:
    """Yield what has somebody follow a page, in an empty folder that is no private one."""
    with tempfile.TemporaryDirectory(prefix="quickstart-") as folder, contextlib.ExitStack() as ends:

        def follow(page: Page) -> Reader:
            reader = Reader(page, programs, Path(folder))
            ends.callback(reader.close)
            return reader

        yield follow


@pytest.mark.timeout(600)  # an environment that has compiled nothing yet, on a machine that may be busy
class TestPages:
    def test_quickstart_ends_in_a_live_swap(self, follow: Callable[[Page], Reader]) -> None:
        """From the installed wheel to the answer of another model, in the words of the README."""
        reader = follow(QUICKSTART)
        reader.start_page()
        reader.start_provider("stand-in", "8001")
        assert reader.run("set") == "revision 1\n", "and no warning: every terminal has what it needs"
        lines = reader.start("set", "run")
        assert next(line for line in lines if "says" in line) == "gpt-5.4 says: gpt-5.4 says: hello\n"
        reader.run("swap")
        assert any(line == "gpt-5.5 says: gpt-5.5 says: hello\n" for line in lines)
        keys = "export LIVEROUTER_SECRET_KEYS_FILE=.liverouter/secret-keys\n"
        renewed = (f"echo sk-another-one | {line}" if "--secret" in line else line for line in NEXT)
        said = reader.run("swap", keys, "\n".join(renewed).replace(" A B", " 1 2").replace(" N", " 1"))
        told = ("revision 3", "liverouter: 1", "revision 4", "revision 5")  # a key, export, rollback, another key
        assert tuple(line for line in said.splitlines() if line in told) == told, said
        assert "revision 7" in reader.run("swap", "own-key")

    def test_tutorial_shows_what_it_says(self, follow: Callable[[Page], Reader]) -> None:
        """A swap, a bad row, the way back, a fallback, a name, and the history: each line that the page promises."""
        reader = follow(TUTORIAL)
        reader.start_page()
        reader.start_provider("stand-in", "8001")
        reader.start_provider("broken", "8002")
        reader.run("admin", "first")
        lines = reader.start("admin", "run")

        def wait_for(said: str, *, by: Iterator[str] = lines) -> None:
            assert any(line == f"{said}\n" for line in by)

        wait_for("revision 2: openai/gpt-5.4, failed over: False")
        reader.run("admin", "swap")
        wait_for("revision 3: openai/gpt-5.5, failed over: False")
        reader.run("admin", "bad")
        shown = reader.run("admin", "problems")
        assert "LR102" in shown
        assert "liverouter set --secret anthropic_api_key" in shown
        reader.run("admin", "back")
        wait_for("revision 5: openai/gpt-5.5, failed over: False")
        reader.run("admin", "fallback")
        wait_for("revision 7: openai/gpt-5.5, failed over: True")
        titles = reader.start("admin", "run-titles")
        wait_for("titles by default, revision 7: openai/gpt-5.5", by=titles)
        reader.run("admin", "name")
        wait_for("titles by titles, revision 8: openai/gpt-5.4-mini", by=titles)
        reader.run("admin", "swap-name")
        wait_for("titles by titles, revision 9: openai/gpt-5.4", by=titles)
        wait_for("revision 9: openai/gpt-5.5, failed over: True")
        history = reader.run("admin", "history")
        assert "no key yet" in history
        assert "llm_fallback_config" in history
