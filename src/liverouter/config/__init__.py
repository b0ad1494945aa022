"""Rows and environment become a snapshot, or Problems. Pure but for the files that the environment names."""
