"""The command `easgd`: a command's module is loaded when it is called, so that a quick question stays quick."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

COMMANDS = {
    "stability": "easgd_cli.stability",
    "map": "easgd_cli.map",
    "simulate": "easgd_cli.simulate",
    "train": "easgd_cli.train",
    "validate": "easgd_cli.validate",
    "reproduce": "easgd_cli.reproduce",
}
INTERRUPTED = 130
BAD_INPUT = 2


class Easgd(click.Group):
    """A group that loads its commands lazily and says what is wrong in one sentence."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands, in the order of the help text."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Build a command, from the algorithms that are registered by now."""
        if cmd_name in COMMANDS:
            command: click.Command = import_module(COMMANDS[cmd_name]).command()
            return command
        if ctx.resilient_parsing or cmd_name.startswith("-"):
            return None
        close = difflib.get_close_matches(cmd_name, COMMANDS, n=1)
        hint = f", did you mean {close[0]}?" if close else ""
        raise click.UsageError(f"unknown command {cmd_name!r}{hint} (the commands are {', '.join(COMMANDS)})")

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = "easgd",
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command line; the signature is click's."""

        def run() -> Any:
            return super(Easgd, self).main(
                args, prog_name, complete_var, False, windows_expand_args=windows_expand_args, **extra
            )

        if not standalone_mode:
            return run()
        try:
            code = run()
        except click.ClickException as error:
            click.echo(f"easgd: error: {_sentence(error)}", err=True)
            code = BAD_INPUT
        except OSError as error:  # a full disk, a file that goes away; click itself keeps quiet about a broken pipe
            click.echo(f"easgd: error: {error}", err=True)
            code = BAD_INPUT
        except (click.Abort, KeyboardInterrupt):
            click.echo("easgd: interrupted; files that were not complete have been removed", err=True)
            code = INTERRUPTED
        sys.exit(code if isinstance(code, int) else 0)


def _sentence(error: click.ClickException) -> str:
    """What is wrong, on one line."""
    if isinstance(error, click.NoSuchOption):
        close = difflib.get_close_matches(error.option_name, error.possibilities or (), n=1, cutoff=0)
        return f"unknown option {error.option_name}, " + (f"did you mean {close[0]}?" if close else "--help lists them")
    return " ".join(error.format_message().split())


@click.group(
    cls=Easgd,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.version_option(package_name="easgd", message="easgd %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """Ask whether training with many workers is stable.

    EASGD, ADMM, DOWNPOUR, Local SGD, DiLoCo and others, for a number of workers, a communication period and a
    curvature; and recompute the paper "Deep learning with Elastic Averaging SGD" (arXiv:1412.6651).
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main() -> None:
    """Entry point of the console script."""
    # Eigenvalues of many small matrices: OpenBLAS's threads get in each other's way (64 workers took 73 s with two and
    # 5.5 s with one). It reads this when NumPy is imported, which no command has done yet.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.path.append(os.getcwd())  # a model named module:factory lies where the command is run
    cli()


if __name__ == "__main__":
    main()
