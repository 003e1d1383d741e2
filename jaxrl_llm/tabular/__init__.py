"""Exact games and small decision processes."""
