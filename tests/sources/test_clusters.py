"""Cluster sums in blocks of five minutes."""

from promptrollout.analysis import ArmClusters, ClusterCounts
from promptrollout.sources.clusters import Block, blocks_in, cluster_wants, read_clusters
from promptrollout.sources.protocol import MetricQuery, Reason, SourceError
from promptrollout.sources.strands import Memory, Series
from promptrollout.sources.tally import Reading
from tests.sources.doubles import ERRORS, series, subject

CORRELATED = MetricQuery("errors", preset="sdk/errors", correlated=True)
SCORE = MetricQuery("helpful", preset="sdk/score", score="helpfulness", correlated=True)


def spans(blocks: list[Block]) -> list[tuple[int, float, float]]:
    return [(b.window, b.start, b.end) for b in blocks]


def test_a_block_comes_with_the_window_it_ends_in() -> None:
    reading = Reading.of(subject(CORRELATED, since=0))
    edges = tuple(range(540, 1261, 60))
    assert spans(blocks_in([reading], edges)) == [(0, 300, 600), (5, 600, 900), (10, 900, 1200)]


def test_blocks_follow_each_other_from_the_comparisons_beginning_however_windows_are_cut() -> None:
    reading = Reading.of(subject(CORRELATED, since=450))
    short = spans(blocks_in([reading], tuple(range(450, 1501, 30))))
    long = spans(blocks_in([reading], (450, 1000, 1500)))
    assert [(a, b) for _, a, b in short] == [(450, 600), (600, 900), (900, 1200), (1200, 1500)]
    assert [(a, b) for _, a, b in long] == [(450, 900), (900, 1500)]


def test_metrics_that_do_not_ask_for_clusters_read_none() -> None:
    reading = Reading.of(subject(ERRORS, since=0))
    assert blocks_in([reading], (0, 600)) == []
    assert cluster_wants(reading) == set()


def by_cluster(name: str, arm: str, values: dict[int, float], **more: str) -> list[Series]:
    labels = {"rollout": "shop/support", "arm": arm, **more}
    return [
        series(f"promptrollout_cluster_{name}", [(10, v)], cluster=str(k), **labels)
        for k, v in values.items()
    ]


def read(reading: Reading, found: list[Series]) -> dict[str, object]:
    memory, strands = Memory(), {}
    for want in cluster_wants(reading):
        memory.baseline([want], 0, [])
        mine = [s for s in found if s.labels["__name__"] == want.family.metric]
        strands.update(memory.follow([want], (0, 300), mine))
    return dict(read_clusters(reading, strands, (0, 300)))


def at(**values: float) -> tuple[float, ...]:
    return tuple(values.get(f"k{i}", 0.0) for i in range(16))


def test_requests_and_events_by_arm_and_cluster() -> None:
    found = by_cluster("requests_total", "stable", {0: 5, 1: 7}) + by_cluster(
        "requests_total", "candidate", {1: 2}
    )
    found += by_cluster("events_total", "stable", {1: 1}, metric="errors")
    found += by_cluster("events_total", "stable", {1: 9}, metric="refusals")
    sums = read(Reading.of(subject(CORRELATED)), found)["errors"]
    assert sums.units is None  # type: ignore[attr-defined]
    assert sums.requests == ClusterCounts(  # type: ignore[attr-defined]
        0, 300, ArmClusters(at(k0=5, k1=7), at(k1=1)), ArmClusters(at(k1=2), at())
    )


def test_scores_have_the_sum_of_squares_of_all_clusters_together() -> None:
    found = by_cluster("score_count", "stable", {3: 2}, score="helpfulness")
    found += by_cluster("score_sum", "stable", {3: 1.5}, score="helpfulness")
    labels = {"rollout": "shop/support", "revision": "s" * 10, "score": "helpfulness"}
    found += [
        series("promptrollout_score_sumsq", [(10, v)], step=s, **labels) for s, v in (("2", 1.0), ("3", 0.25))
    ]
    sums = read(Reading.of(subject(SCORE)), found)["helpful"]
    assert sums.requests == ClusterCounts(0, 300, ArmClusters(at(k3=2), at(k3=1.5), 1.25))  # type: ignore[attr-defined]


def test_without_its_sums_a_metric_has_no_clusters() -> None:
    assert read(Reading.of(subject(CORRELATED)), by_cluster("requests_total", "stable", {0: 5})) == {}
    reading = Reading.of(subject(CORRELATED))
    down = SourceError(Reason.TIMEOUT, "slow")
    assert read_clusters(reading, dict.fromkeys(cluster_wants(reading), down), (0, 300)) == {}
