"""The policy behind a URL, for programs that know nothing of training."""
