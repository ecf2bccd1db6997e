"""Applications that use the product, each a running program: see README.md."""
