"""What hundreds of swaps leave behind: nothing. The soak does thirty times as many."""

from __future__ import annotations

import pytest

from tests.faults.bounds import GROWTH
from tests.faults.swaps import measure_swaps


@pytest.mark.timeout(600)  # on a busy machine
class TestSwaps:
    def test_hundreds_of_swaps_leave_two_routers_and_no_memory(self) -> None:
        """Memory does not grow with swaps, and no more than two Routers are ever alive."""
        assert measure_swaps(300, limit_mb=GROWTH.limit)
