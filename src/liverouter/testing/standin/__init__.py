"""The server behind every stand-in: connections, scripts, failures, records."""
