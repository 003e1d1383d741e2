"""Studies: short programs that test what a paper claims, see `study`."""
