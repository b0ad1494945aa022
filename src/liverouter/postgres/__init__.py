"""Everything that talks to PostgreSQL: the only one that knows its drivers."""
