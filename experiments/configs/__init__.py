"""Default and example configurations, one short program each."""
