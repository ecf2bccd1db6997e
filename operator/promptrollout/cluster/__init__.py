"""Kubernetes behind one protocol: reads, writes, events, leader election, and the check of rights at start."""
