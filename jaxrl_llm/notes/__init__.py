"""What is said of finished responses beside their scores."""
