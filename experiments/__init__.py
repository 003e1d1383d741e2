"""Commands: train, eval, export, sweep, bench."""
