"""What learns without a gradient through log-probs."""
