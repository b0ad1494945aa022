"""Keeps this process on the newest valid revision, and tells the database what it runs."""
