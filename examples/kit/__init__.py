"""What the examples share, so that each of them shows only what is its own.

A simulated model, a crowd of users, a way to try two prompts without a cluster, and a builder of dashboards.
"""
