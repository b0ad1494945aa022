"""A PostgreSQL of our own, from wheels: for the demo, for tests, and for `serve` without a database."""
