"""Servers that a job starts for its own evaluation."""
