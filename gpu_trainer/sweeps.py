"""Many cases on all cores, into a CSV that is complete line by line: killed at any moment, a sweep goes on there."""

from __future__ import annotations

import csv
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from io import StringIO
from pathlib import Path
from typing import Any, Protocol

import torch

from gpu_trainer.parent import end_with_parent

Row = dict[str, Any]
"""A line of the CSV, by column."""

Progress = Callable[[int, int, Row], None]
"""Called with the cases done, the cases in all, and the row of the last one."""


class Case(Protocol):
    """One thing to do; it can be pickled."""

    def columns(self) -> Row:
        """What tells it from the other cases: the first columns of its row."""


def sweep(
    path: Path,
    setup: Row,
    cases: Sequence[Case],
    work: Callable[[Any], Row],
    *,
    processes: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Do every case that the CSV lacks, and append its row as soon as it is done.

    Parameters
    ----------
    path : Path
        The CSV: new, or begun by the same sweep.
    setup : mapping
        Columns that all rows have in common; a CSV with others is refused.
    cases : sequence
        They differ in their columns.
    work : callable
        From a case to the columns that it found; pure, and a function or a method that can be pickled.
    processes : int, optional
        How many work; by default one for each core. Of several, each is a new interpreter with one thread: a script
        that calls this needs its ``if __name__ == "__main__":``. One works in the process that calls, with one
        thread too.
    progress : callable, optional

    Raises
    ------
    ValueError
        The CSV is of another setup or has cases that are not asked for, or `processes` is below 1.
    """
    count = (os.cpu_count() or 1) if processes is None else processes
    if count < 1:
        raise ValueError(f"processes must be at least 1, got {count}")
    planned = {_key(case.columns()): case for case in cases}
    done = begun(path, setup, cases)
    left = [case for key, case in planned.items() if key not in done]
    for number, (case, found) in enumerate(_worked(work, left, min(count, len(left))), len(done) + 1):
        row = {**setup, **case.columns(), **found}
        _append(path, row)
        if progress is not None:
            progress(number, len(planned), row)


def _worked(work: Callable[[Any], Row], cases: Sequence[Case], processes: int) -> Iterator[tuple[Case, Row]]:
    """The cases with what was found, in the order in which they are done."""
    if processes <= 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield from ((case, work(case)) for case in cases)
        finally:
            torch.set_num_threads(threads)
        return
    spawning = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    with ProcessPoolExecutor(processes, spawning, _begin_worker) as pool:
        futures = {pool.submit(work, case): case for case in cases}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _begin_worker() -> None:
    torch.set_num_threads(1)
    end_with_parent()


def begun(path: Path, setup: Row, cases: Sequence[Case]) -> set[str]:
    """The keys of the cases that are done; half a line at the end is cut off.

    Raises
    ------
    ValueError
        The CSV is of another setup or has cases that are not asked for.
    """
    if not path.exists():
        return set()
    planned = {_key(case.columns()) for case in cases}
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    rows = csv.DictReader(StringIO(whole.decode(), newline=""))
    names = list(cases[0].columns())
    done = set()
    for row in rows:
        for name, asked in setup.items():
            if row.get(name) != str(asked):
                raise _another(path, f"its {name} is {row.get(name, 'not given')}, not {asked}")
        key = _key({name: row.get(name) for name in names})
        if key not in planned:
            raise _another(path, f"it has a case that is not asked for, {key}")
        done.add(key)
    return done


def _another(path: Path, reason: str) -> ValueError:
    return ValueError(f"{path.name} in {str(path.parent)!r} holds another check: {reason}; give another directory")


def _key(columns: Row) -> str:
    return " ".join(f"{name}={value}" for name, value in columns.items())


def _append(path: Path, row: Row) -> None:
    """Write a line at once, with the header where the file begins."""
    line = StringIO(newline="")
    writer = csv.DictWriter(line, list(row), lineterminator="\n")
    with path.open("a", newline="", encoding="utf-8") as file:
        if not file.tell():
            writer.writeheader()
        writer.writerow(row)
        file.write(line.getvalue())
