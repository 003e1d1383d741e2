"""Compiled sampling and the plans that compose it."""
