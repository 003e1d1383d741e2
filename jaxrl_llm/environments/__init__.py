"""Small environments in pure JAX, each with a known optimum."""
