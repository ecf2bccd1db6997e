"""One real node: kubelet, containerd and runc run real pods, from images made here without a registry.

Linux, root, and the Debian packages of `machine.PACKAGES` are needed. `make e2e-node` does it all.
"""
