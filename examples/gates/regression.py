"""A regression test: the candidate may answer the cases worse than stable by this much at most."""

from gatekit import beside, prompt, report, score

TOLERANCE = 0.1

cases = beside("cases.json")
stable = prompt("stable")
if stable is None:
    report("there is no stable prompt to compare with")
new, old = score(prompt("candidate"), cases), score(stable, cases)
report(f"candidate {new:.2f}, stable {old:.2f} on {len(cases)} cases", new, passed=new >= old - TOLERANCE)
