"""Experiments with a pretrained language model, on a laptop CPU."""
