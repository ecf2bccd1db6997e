"""Runs in a pod, beside the application: says when the mounted file changed, as a container sees it.

Prints a line for each new sequence of rollout.json: `<seconds since the epoch> <sequence>`.
"""

import json
import sys
import time
from pathlib import Path

_EVERY_S = 0.005


def main(path: Path) -> None:
    """Look for ever."""
    said = None
    while True:
        try:
            sequence = json.loads(path.read_text())["sequence"]
        except (OSError, ValueError, KeyError):
            sequence = None
        if sequence != said and sequence is not None:
            print(f"{time.time():.3f} {sequence}", flush=True)
            said = sequence
        time.sleep(_EVERY_S)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
