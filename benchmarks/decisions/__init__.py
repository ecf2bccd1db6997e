"""Decisions side by side: this engine and the rules of other tools on the same simulated traffic."""
