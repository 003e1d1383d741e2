"""What trains, and how much."""
