"""Each patch of litellm is needed by the one that is installed; one that no version of the range needs has to go."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Final

import pytest

from liverouter.routing.litellm_patches import PATCHES
from liverouter.routing.litellm_setup import RANGE

ROOT: Final = Path(__file__).parents[2]
# The first version that does without a patch, by the patch's name; it goes once the range begins there.
MENDED: Final[dict[str, str]] = {}


@pytest.fixture(scope="module")
def needed() -> dict[str, bool]:
    """Return whether litellm as it comes does what a patch is for, by the patch's name."""
    given = {name: value for name, value in os.environ.items() if not name.startswith(("LITELLM_", "LIVEROUTER_"))}
    argv = [sys.executable, "-m", "tests.unit.patches_needed"]
    done = subprocess.run(argv, cwd=ROOT, env=given, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    told: dict[str, bool] = json.loads(done.stdout.splitlines()[-1])  # litellm prints above it
    return told


def _parts(text: str) -> tuple[int, ...]:
    """Return the numbers of a version, the first three."""
    return tuple(int(number) for number in re.findall(r"\d+", text)[:3])


@pytest.mark.parametrize("name", PATCHES)
def test_patch_is_needed(needed: dict[str, bool], name: str) -> None:
    """Where litellm has mended what a patch is for, the patch goes, or `MENDED` says since when."""
    assert needed[name] is (name not in MENDED or _parts(version("litellm")) < _parts(MENDED[name]))


def test_patch_that_the_whole_range_does_without_is_gone() -> None:
    """As soon as the oldest litellm that we take has mended it."""
    assert [name for name, since in MENDED.items() if _parts(since) <= _parts(RANGE)] == []
