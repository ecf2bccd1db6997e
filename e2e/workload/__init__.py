"""What runs on the cluster: a node agent that does kubelet's part, serving pods, a model server, a load generator."""
