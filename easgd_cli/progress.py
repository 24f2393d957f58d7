"""Progress of long work, on stderr: a bar on a terminal, in a pipe nothing but the lines that were asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Bar:
    """Counts steps; draws a bar where stderr is a terminal.

    Made by `progress`, inside whose block it lives.
    """

    def __init__(self, bar: Progress | None, task: TaskID | None, total: int) -> None:
        self._bar = bar
        self._task = task
        self._total = total
        self._done = 0

    def start(self, title: str) -> None:
        """Say on the bar what is being done."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=title)

    def reach(self, done: int) -> None:
        """Say how many steps are done by now."""
        self._done = done
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done)

    def advance(self, line: str = "") -> None:
        """Count one step; `line` is printed in a pipe too."""
        self._done += 1
        if line:
            line = f"[{self._done:{len(str(self._total))}}/{self._total}] {line}"
        if self._bar is None or self._task is None:
            if line:
                click.echo(line, err=True)
            return
        if line:
            self._bar.console.print(line, markup=False, highlight=False)
        self._bar.advance(self._task)


@contextmanager
def progress(title: str, total: int, done: int = 0) -> Iterator[Bar]:
    """A bar for `total` steps, `done` of which were taken before."""
    if not sys.stderr.isatty():
        yield Bar(None, None, total)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield Bar(bar, bar.add_task(title, total=total, completed=done), total)


@contextmanager
def told_how_to_continue(kept: Callable[[], str], how: str = "the same command continues there") -> Iterator[None]:
    """Where the block is interrupted, say what is `kept`, if anything is, and `how` to go on."""
    from easgd_cli.main import INTERRUPTED

    try:
        yield
    except KeyboardInterrupt:
        if not (what := kept()):
            raise
        # below the ^C, as click does it
        click.echo(f"\neasgd: interrupted; {what}, and {how}", err=True)
        raise click.exceptions.Exit(INTERRUPTED) from None
