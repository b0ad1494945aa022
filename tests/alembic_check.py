"""Check that the migrations make exactly the tables of `liverouter.postgres.schema`: `alembic check` on a new database.

A part of ``python3 run.py check``; prints the differences and exits with an error when there are any.
"""

from __future__ import annotations

import os
from pathlib import Path

from alembic.config import main

from liverouter.embedded.server import EmbeddedPostgres
from liverouter.postgres.migrate import upgrade

if __name__ == "__main__":
    os.chdir(Path(__file__).parents[1])  # where alembic.ini is
    with EmbeddedPostgres() as server:
        upgrade(server.dsn())
        os.environ["LIVEROUTER_DATABASE_URL"] = server.dsn()
        main(["check"], prog="alembic")
