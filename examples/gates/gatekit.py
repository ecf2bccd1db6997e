"""What the three gates share: the prompts that the operator has mounted, a model to ask, and the report.

The standard library is enough, so that any image with Python runs them.
"""

import json
import os
import re
import sys
import urllib.request
from pathlib import Path

#: Only on Windows HostProcess nodes (and where pods are plain processes) do mounts not begin at the root.
ROOT = Path(os.environ.get("CONTAINER_SANDBOX_MOUNT_POINT", "/"))
PROMPTS = ROOT / os.environ.get("PROMPTROLLOUT_DIRECTORY", "/etc/promptrollout").lstrip("/")
TERMINATION_LOG = ROOT / "dev/termination-log"
_VARIABLE = re.compile(r"\{\{\s*(\w+)\s*\}\}")


def prompt(name):
    """The sealed prompt `candidate` or `stable`; None if there is none (a first revision has no stable)."""
    file = PROMPTS / f"{name}.json"
    return json.loads(file.read_text()) if file.exists() else None


def beside(name):
    """A JSON file that lies beside this program."""
    return json.loads((Path(__file__).parent / name).read_text())


def render(document, values):
    """The messages of a prompt with its variables filled in (templateFormat mustache, without sections)."""
    return [
        {
            "role": message["role"],
            "content": _VARIABLE.sub(lambda found: str(values[found[1]]), message["content"]),
        }
        for message in document["parts"]["default"]["messages"]
    ]


def ask(document, values):
    """The model's answer; an error counts as an empty one."""
    body = {"model": document.get("model", ""), "messages": render(document, values)}
    request = urllib.request.Request(
        os.environ["MODEL_URL"] + "/v1/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)["choices"][0]["message"]["content"]
    except OSError as error:
        print(f"no answer: {error}", file=sys.stderr)
        return ""


def score(document, cases):
    """The mean over all cases of the share of expectations (regular expressions) that the answer meets."""
    total = 0.0
    for case in cases:
        answer = ask(document, case["values"])
        met = sum(1 for wanted in case["expects"] if re.search(wanted, answer))
        total += met / len(case["expects"])
    return total / len(cases)


def report(text, score=None, *, passed=True):
    """Tell the operator, and end. It reads the termination message and the exit code."""
    said = {"report": text, "passed": passed} | ({} if score is None else {"score": round(score, 4)})
    TERMINATION_LOG.write_text(json.dumps(said))
    print(text)
    sys.exit(0 if passed else 1)
