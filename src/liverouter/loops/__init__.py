"""Event loops in threads of their own, and how callers and background tasks wait for each other."""
