"""The table of states has no row that nothing leads through, and the page is drawn from it. See test_properties too."""

from itertools import pairwise

from promptrollout.analysis import Verdict
from promptrollout.api.status import Phase
from promptrollout.rollout import diagram
from promptrollout.rollout.states import ASIDE, MEANINGS, MOVES

A, B, C = "aaaa000000", "bbbb000000", "cccc000000"


def moves_of(*stories):
    phases = [[decision.status.phase for decision in told.decisions] for told in stories]
    return {(one, other) for each in phases for one, other in pairwise(each) if one is not other}


def test_every_row_of_the_table_happens_in_some_story(at_step):
    good = at_step(3).evidence(Verdict.NonInferior).after("1h").pods_load()
    harmed = at_step(1).evidence().says("pause").says("resume").says("pause").evidence(Verdict.Harmed)
    harmed.comparison = None
    harmed.pods_load().says("retry").says("pause").says("promote-full").pods_load()
    hasty = at_step(1).evidence(Verdict.Harmed).wants(C).says("abort").pods_load().wants(A)
    undone = at_step(3).evidence(Verdict.NonInferior).after("1h").pods_load().says(f"undo/{A}").pods_load()
    promoted = at_step(3).evidence(Verdict.NonInferior).after("1h").pods_load().evidence()
    twice = promoted.wants(C).pods_load().evidence(Verdict.Harmed).pods_load().says(f"undo/{A}")
    assert moves_of(good, harmed, hasty, undone, twice) >= MOVES.keys()


def test_the_phases_aside_may_follow_any_other_and_go_back(at_step):
    for step in (1, 2):
        told = at_step(step).evidence()
        before = told.phase
        told.is_invalid()
        assert told.phase == "Invalid"
        told.problems = ()
        assert told.turn().phase == before
    assert not {phase for move in MOVES for phase in move} & ASIDE.keys()


def test_every_phase_has_a_meaning():
    assert MEANINGS.keys() == set(Phase)


def test_the_page_is_the_one_that_the_table_gives():
    assert diagram.PAGE.read_text(encoding="utf-8") == diagram.page()


def test_readme_shows_the_same_diagram():
    text = diagram.README.read_text(encoding="utf-8")
    assert diagram.readme(text) == text
    assert "Healthy --> RollingBack: undo" in text


def test_the_page_names_each_transition_and_each_phase():
    page = diagram.page()
    assert all(f"{one.value} --> {other.value}: " in page for one, other in MOVES)
    assert all(f"| {phase.value} |" in page for phase in Phase)
