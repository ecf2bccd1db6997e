"""docs/semantics.md names a test of `decide` for each row, and a scenario where it touches the cluster."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "semantics.md"
#: What the garbage collector and the namespace controller do, or the API server refuses, nobody decides.
NOT_DECIDED = {"namespace or object deleted", "the API server refuses what is to be written"}
_NAMED = re.compile(r"`(test_\w+)::(test_\w+)`")


def rows():
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]
    return {when: (_NAMED.findall(decided), _NAMED.findall(scenario)) for when, _, decided, scenario in cells}


def functions_in(room, module):
    tree = ast.parse((TESTS / room / f"{module}.py").read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("when", rows())
def test_each_row_is_tested_by_name_on_decide_and_on_the_real_api_server(when):
    decided, scenarios = rows()[when]
    assert decided or when in NOT_DECIDED
    assert scenarios
    for room, named in (("rollout", decided), ("scenarios", scenarios)):
        for module, test in named:
            assert test in functions_in(room, module)


def test_the_page_has_all_rows_of_the_design():
    assert len(rows()) >= 18 + 6
