"""The shell: kopf's events and due times go onto one queue; each turn observes, decides and applies."""
