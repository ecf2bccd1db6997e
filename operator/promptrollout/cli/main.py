"""Console entry: `kubectl-promptrollout`, which kubectl finds on the PATH as `kubectl promptrollout`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version as installed

import typer

from promptrollout.cli.printing import USAGE, CliError, complain
from promptrollout.cli.words import VERBS

_HELP = """Look at PromptRollouts, command them, plan and simulate them, and replay what they decided.

Exit codes: 0 done; 1 refused or failed; 2 wrong usage; 3 no answer in time; 4 cannot be decided (plan).
"""

#: typer brings click along under a name of its own, but for its errors' children.
_UsageProblem: type[typer.BadParameter] = next(
    base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException"
)
#: Which module has which command; only what a command needs is imported, since numerics take a while.
_MODULES = {
    "showing": ("get", "status", "history", "evidence"),
    "planning": ("plan",),
    "simulating": ("simulate",),
    "replaying": ("replay",),
    "verbs": tuple(VERBS),
}


def build(wanted: str = "") -> typer.Typer:
    """The application with the module of the command `wanted`, or with all of them."""
    app = typer.Typer(
        name="kubectl promptrollout",
        help=_HELP,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    chosen = [module for module, commands in _MODULES.items() if wanted in commands] or list(_MODULES)
    for module in chosen:
        import_module(f"promptrollout.cli.{module}").register(app)
    app.command("version", help="The plugin's version.")(version)
    return app


def version() -> None:
    """The plugin's version."""
    typer.echo(installed("promptrollout"))


def run(arguments: Sequence[str]) -> int:
    """Run one command; its exit code."""
    wanted = next((word for word in arguments if not word.startswith("-")), "")
    try:
        code = build(wanted)(list(arguments), prog_name="kubectl promptrollout", standalone_mode=False)
    except CliError as error:
        complain(str(error))
        return error.code
    except _UsageProblem as error:
        complain(error.format_message())
        return USAGE
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        return 0
    return code if isinstance(code, int) else 0


def main() -> None:
    """Console entry."""
    sys.exit(run(sys.argv[1:]))
