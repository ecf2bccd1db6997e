"""Prometheus and the load generator find exactly the pods that are there."""

import json
from pathlib import Path

from e2e.workload.directory import Directory, Endpoint, read_endpoints


def endpoint(pod: str, *, ready: bool = True, app: str = "support") -> Endpoint:
    return Endpoint("shop", pod, f"127.0.0.1:{20000 + len(pod)}", ready, scraped=True, labels={"app": app})


def test_targets_carry_the_labels_that_the_cluster_would_give(tmp_path: Path) -> None:
    directory = Directory(tmp_path / "targets", tmp_path / "endpoints")
    directory.put(endpoint("a", ready=False))
    targets = json.loads((tmp_path / "targets").read_text())
    assert targets == [{"targets": ["127.0.0.1:20001"], "labels": {"namespace": "shop", "pod": "a"}}]


def test_load_goes_to_ready_pods_of_the_service_only(tmp_path: Path) -> None:
    directory = Directory(tmp_path / "targets", tmp_path / "endpoints")
    for one in (endpoint("a"), endpoint("bb", ready=False), endpoint("ccc", app="other"), endpoint("dddd")):
        directory.put(one)
    directory.remove("shop", "dddd")
    assert read_endpoints(tmp_path / "endpoints", "shop", {"app": "support"}) == ["127.0.0.1:20001"]
    assert read_endpoints(tmp_path / "endpoints", "elsewhere", {"app": "support"}) == []


def test_a_file_that_is_not_there_yet_names_nobody(tmp_path: Path) -> None:
    assert read_endpoints(tmp_path / "endpoints", "shop", {}) == []
