"""Acknowledgements: who serves what, since when."""

from promptrollout.sources.counters import Point
from promptrollout.sources.loaded import LOADED, LOADED_AT, loaded_query, read_loaded
from promptrollout.sources.protocol import LoadedBy
from promptrollout.sources.strands import Series
from tests.sources.doubles import series


def word(
    value: float = 1, at: float = 1000.25, *, sequence: str = "7", pod: str = "a", **more: str
) -> list[Series]:
    labels = {
        "rollout": "shop/x",
        "sequence": sequence,
        "hash": "h7",
        "namespace": "shop",
        "instance": "10.0.0.1:80",
    }
    labels |= {"pod": pod, **more}
    return [series(LOADED, [(2000, value)], **labels), series(LOADED_AT, [(2000, at)], **labels)]


def test_both_metrics_of_all_rollouts_are_one_query() -> None:
    assert loaded_query(["shop/x", "shop/y"]) == (
        '{__name__=~"promptrollout_loaded|promptrollout_loaded_timestamp_seconds",rollout=~"shop/x|shop/y"}'
        ' or label_replace(timestamp(promptrollout_loaded{rollout=~"shop/x|shop/y"}),'
        ' "promptrollout_scraped", "1", "", "")'
    )


def test_a_word_has_its_pod_and_its_moment() -> None:
    assert read_loaded(word(), ["shop/x", "shop/y"]) == {
        "shop/x": (LoadedBy("shop", "a", "10.0.0.1:80", 7, "h7", 1000.25),),
        "shop/y": (),
    }


def test_a_pod_between_two_payloads_has_two_words() -> None:
    found = read_loaded([*word(), *word(2, 1010, sequence="8")], ["shop/x"])["shop/x"]
    assert [w.sequence for w in found] == [7, 8]


def scraped(at: float, sequence: str, **more: str) -> list[Series]:
    """A word, and when it was scraped."""
    said = word(sequence=sequence, **more)
    labels = {k: v for k, v in said[0].labels.items() if k != "__name__"}
    return [*said, Series({**labels, "promptrollout_scraped": "1"}, (Point(2000, at),))]


def test_a_word_older_than_its_targets_newest_scrape_is_of_the_past() -> None:
    found = read_loaded([*scraped(1700, "7"), *scraped(1999, "8")], ["shop/x"])["shop/x"]
    assert [w.sequence for w in found] == [8]


def test_workers_that_one_scrape_found_at_different_payloads_all_count() -> None:
    found = read_loaded([*scraped(1999, "7"), *scraped(1999, "8")], ["shop/x"])["shop/x"]
    assert [w.sequence for w in found] == [7, 8]


def test_a_target_that_is_scraped_less_often_is_judged_by_its_own_scrapes() -> None:
    slow = scraped(1940, "7", pod="b", instance="10.0.0.2:80")
    found = read_loaded([*slow, *scraped(1999, "8")], ["shop/x"])["shop/x"]
    assert sorted((w.pod, w.sequence) for w in found) == [("a", 8), ("b", 7)]


def test_a_word_taken_back_is_none() -> None:
    assert read_loaded(word(0, 0), ["shop/x"]) == {"shop/x": ()}


def test_words_in_another_form_are_left_out() -> None:
    found = [
        *word(sequence="x"),
        *word(pod="e", sequence="9" * 5_000),
        *word(pod="b", rollout="shop/other"),
        *word(float("nan"), pod="c"),
        word(pod="d")[0],
        Series({"__name__": LOADED, "rollout": "shop/x", "sequence": "7"}, ()),
    ]
    assert read_loaded(found, ["shop/x"]) == {"shop/x": ()}


def test_older_names_of_the_pods_label_are_understood() -> None:
    labels = {
        "rollout": "shop/x",
        "sequence": "7",
        "hash": "h",
        "kubernetes_pod_name": "p",
        "kubernetes_namespace": "n",
    }
    found = [series(LOADED, [(1, 1)], **labels), series(LOADED_AT, [(1, 5)], **labels)]
    (only,) = read_loaded(found, ["shop/x"])["shop/x"]
    assert (only.namespace, only.pod, only.instance) == ("n", "p", "")
