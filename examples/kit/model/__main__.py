"""python -m examples.kit.model: the simulated model as a server."""

import argparse

from examples.kit import serving
from examples.kit.model import __doc__ as about
from examples.kit.model.server import Model, Speed


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m examples.kit.model", description=about)
    serving.listening_options(parser, 9000)
    serving.option(parser, "--first-ms", "30", "milliseconds until it begins to answer", float)
    serving.option(parser, "--token-ms", "10", "milliseconds for each further token", float)
    serving.option(parser, "--seed", "1", "the same seed and messages give the same answer")
    given = parser.parse_args()
    speed = Speed(given.first_ms / 1000, given.token_ms / 1000)
    serving.run(Model(speed, given.seed).application(), given.host, given.port)


if __name__ == "__main__":
    main()
