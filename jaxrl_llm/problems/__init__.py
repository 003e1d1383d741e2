"""What a run is about: who asks, answers and judges."""
