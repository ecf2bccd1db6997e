"""A snapshot test: with fixed values the prompt must read as recorded; whoever means a change records it anew."""

import difflib

from gatekit import beside, prompt, render, report

recorded = beside("snapshot.json")
rendered = [f"{m['role']}: {m['content']}" for m in render(prompt("candidate"), recorded["values"])]
if rendered == recorded["lines"]:
    report("the prompt reads as recorded")
difference = difflib.unified_diff(recorded["lines"], rendered, "recorded", "candidate", lineterm="")
report("\n".join(difference), passed=False)
