"""The views of schema liverouter, by name; `tests/integration/test_sql_roles.py` compares them with the catalog."""

from __future__ import annotations

from typing import Final

NARROW: Final = (  # those that fit onto a terminal; each but `secret_keys` has a `_detail` beside it
    "active_config",
    "desired_config",
    "instances",
    "problems",
    "revisions",
    "rollout",
    "secret_keys",
    "usage",
    "usage_daily",
)
VIEWS: Final = tuple(sorted((*NARROW, *(f"{view}_detail" for view in NARROW if view != "secret_keys"))))
