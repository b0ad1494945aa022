"""A story that plays itself: a database, two workers and stand-in providers, shown on a terminal."""
