"""A pytest plugin for `make scenarios`: a table row for each scenario, and the sum as the last line.

Loaded by `-p e2e.scenario_table`; without it the same tests run as any others.
"""

import pytest

_WIDTH = 11
_RESULTS = {"passed": "ok", "failed": "FAILED", "skipped": "skipped"}


class ScenarioTable:
    """Prints a row when a scenario is over, whatever else pytest prints."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._results: dict[str, str] = {}

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str]:
        """Nothing in pytest's own words: the row says it."""
        counts = report.when == "call" or not report.passed
        return report.outcome if counts else "", "", ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A scenario is over when its last phase is; the first failure of any phase is its result."""
        name = report.nodeid
        self._seconds[name] = self._seconds.get(name, 0.0) + report.duration
        if self._results.get(name, "passed") == "passed":
            self._results[name] = report.outcome
        if report.when == "teardown":
            print(self._row(name), flush=True)

    def _row(self, name: str) -> str:
        path, _, test = name.partition("::")
        area = path.rpartition("/")[2].removesuffix(".py").removeprefix("test_").replace("_", " ")
        what = test.removeprefix("test_").replace("_", " ")
        result = _RESULTS[self._results[name]]
        return f"{result:8}{self._seconds[name]:7.1f} s  {area:{_WIDTH}}  {what}"

    def pytest_unconfigure(self) -> None:
        """The sum, after all that pytest says."""
        results = list(self._results.values())
        skipped = f", {results.count('skipped')} skipped" if "skipped" in results else ""
        print(f"scenarios: {results.count('passed')} passed, {results.count('failed')} failed{skipped}")


def pytest_configure(config: pytest.Config) -> None:
    """Register the table."""
    config.pluginmanager.register(ScenarioTable(), "scenario-table")
