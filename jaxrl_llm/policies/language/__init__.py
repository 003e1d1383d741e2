"""Decoder-only transformers: parameters, scoring, sampling, file formats."""
