"""An eval harness: ask the model each case with the candidate, and report the score. The gate's threshold decides."""

from gatekit import beside, prompt, report, score

cases = beside("cases.json")
result = score(prompt("candidate"), cases)
report(f"{len(cases)} cases, {result:.0%} of what is expected was answered", result)
