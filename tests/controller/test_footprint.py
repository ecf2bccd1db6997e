"""What an operator need not load, it does not: memory is what it costs while nothing happens."""

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
#: Each takes 2 to 40 MiB. Jinja2 and Apprise come with the first prompt or channel that wants them.
UNWANTED = ("scipy", "jinja2", "apprise", "pandas", "matplotlib", "rich", "typer", "promptrollout.simulation")
PROGRAM = """
import sys
import numpy
import promptrollout.controller.main
from promptrollout.analysis import Evidence, assess, fold
from tests.analysis.builders import all_kinds_plan, all_kinds_seed, all_kinds_window

plan, rng = all_kinds_plan(), numpy.random.default_rng(1)
windows = [all_kinds_window(rng, number) for number in range(30)]
assess(plan, fold(plan, Evidence.initial(plan, all_kinds_seed(rng)), windows))
print(*sys.modules)
"""


def test_an_operator_that_compares_metrics_of_every_kind_has_loaded_no_heavy_library_for_it():
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", PROGRAM], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert "promptrollout.analysis.kinds.total" in done.stdout
    assert [name for name in done.stdout.split() if name in UNWANTED] == []
