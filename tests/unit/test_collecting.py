"""Garbage collection is put off while much is loaded, and does not go through it afterwards."""

from __future__ import annotations

import subprocess
import sys

_CODE = """
import gc

from liverouter.routing.litellm_setup import collecting_later, freeze

class Loaded:
    pass

kept = []
with collecting_later():
    kept += [Loaded() for _ in range(100_000)]
    with collecting_later():
        pass
    assert not gc.isenabled()
assert gc.isenabled()
assert gc.get_count()[0] < 1_000, gc.get_count()
assert any(each is kept[0] for each in gc.get_objects(generation=2))
assert not gc.get_freeze_count()

with collecting_later():
    made = [Loaded() for _ in range(10_000)]
assert not any(each is made[0] for each in gc.get_objects(generation=2))

freeze()
frozen = gc.get_freeze_count()
with collecting_later():
    pass
assert gc.get_freeze_count() == frozen > 100_000
"""


def test_what_is_loaded_is_old_at_once_and_what_is_frozen_stays_so() -> None:
    """The next collection looks through what a reload made, not through an import, nor through what was frozen."""
    done = subprocess.run([sys.executable, "-c", _CODE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
