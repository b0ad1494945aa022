"""The URLs that the documentation shows for each vendor are read as they stand."""

from __future__ import annotations

import re
from typing import Final

import pytest

from liverouter.postgres.dsn import Dsn
from tests.kit import pages

TABLE: Final = pages.text().partition("<!-- check: urls -->")[2].partition("\n\n")[0]
ROWS: Final = re.findall(r"^\| (.+?) \| `(postgres.+?)` \|$", TABLE, re.MULTILINE)


@pytest.mark.parametrize(("vendor", "url"), ROWS)
def test_url_of_a_vendor_is_read(vendor: str, url: str) -> None:
    """Host, name and login as they stand; only what asyncpg knows is handed on to it."""
    dsn = Dsn.parse(url)
    assert "password" not in dsn.without_password
    for one in dsn.per_host():
        assert set(re.findall(r"[?&](\w+)=", one)) <= {"host", "sslmode", "sslrootcert", "target_session_attrs"}, vendor
    assert len(dsn.per_host()) == (2 if vendor == "several hosts" else 1)


def test_every_vendor_is_shown() -> None:
    """The table is not empty because its form changed."""
    told = " ".join(vendor for vendor, _ in ROWS)
    for name in ("Supabase, transaction", "Supabase, session", "Neon", "RDS", "Azure", "Heroku", "Render", "Cloud SQL"):
        assert name in told
