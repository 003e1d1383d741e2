"""Losses over log-probabilities."""
