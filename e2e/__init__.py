"""End to end: a real control plane, Prometheus and serving pods on one bare machine, and scenarios that run on them."""
