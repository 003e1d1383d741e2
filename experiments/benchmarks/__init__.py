"""What `experiments.bench` measures, and with whom it compares."""
