"""Questions in text, answered by language models and judged by verifiers."""
