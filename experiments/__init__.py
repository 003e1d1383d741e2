"""Commands: train, eval, export, sweep."""
