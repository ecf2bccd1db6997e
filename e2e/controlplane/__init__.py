"""A real control plane (etcd, kube-apiserver, kube-controller-manager) and Prometheus, as processes on this machine."""
