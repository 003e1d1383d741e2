"""Scores to rewards: combiners and shapers."""
