"""The simulated model: an OpenAI-compatible server that does what its prompt tells it, the unwise included.

`python -m examples.kit.model --help`. Each module here is one thing that it can do.
"""
