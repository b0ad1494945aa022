"""What thousands of swaps leave behind: nothing. The soak does ten times as many."""

from __future__ import annotations

from tests.faults.bounds import GROWTH
from tests.faults.swaps import measure_swaps


class TestSwaps:
    def test_a_thousand_swaps_leave_two_routers_and_no_memory(self) -> None:
        """Memory does not grow with swaps, and no more than two Routers are ever alive."""
        assert measure_swaps(1000, limit_mb=GROWTH.limit)
