"""`validate`: do real networks obey the predicted maps? A check, its cases, and the table that it fills."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from gpu_trainer.site import Ground, Site, prepare
from gpu_trainer.sweeps import Case, Progress, Row, begun, sweep


@dataclass(frozen=True, kw_only=True)
class Check(ABC):
    """What is held against the theory, and where.

    Attributes
    ----------
    site : Site
        The network, the data and the point.
    """

    site: Site
    name: ClassVar[str]
    """The table's file is named so, with ``.csv``."""
    tilted: ClassVar[bool] = True
    """Whether the gradient at the point is subtracted everywhere."""

    def setup(self) -> Row:
        """The columns that all rows have in common."""
        return self.site.columns()

    @abstractmethod
    def cases(self) -> Sequence[Case]:
        """What is looked at, in order."""

    @abstractmethod
    def measure(self, ground: Ground, case: Any) -> Row:
        """Predict and measure one case."""


def validate(check: Check, directory: Path, *, processes: int | None = None, progress: Progress | None = None) -> Path:
    """Fill the table of a check: one row for each case, the prediction beside what the trainer's own steps did.

    A run that was stopped, by kill -9 too, goes on where it was: rows are complete or not there, and the point with its
    eigenpairs is kept in the directory.

    Parameters
    ----------
    check : Check
        `MapCheck`, `GrowthCheck`, `FateCheck`, `SettlingCheck` or `EdgeCheck`.
    directory : Path
        It exists; a table of the same check in it is continued.
    processes, progress
        As in `gpu_trainer.sweeps.sweep`.

    Returns
    -------
    Path
        The table, a CSV.

    Raises
    ------
    ValueError
        The directory holds a table of another setup, or the site cannot be prepared.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from gpu_trainer.modes import MapCheck
    >>> check = MapCheck(site=Site(images=16, steps=0), workers=(2,), periods=(1,), eigenvectors=("top",))
    >>> with TemporaryDirectory() as directory:
    ...     validate(check, Path(directory), processes=1).read_text().count("True")
    14
    """
    path = directory / f"{check.name}.csv"
    cases = check.cases()
    begun(path, check.setup(), cases)  # refused before anything is computed
    work = partial(check.measure, prepare(check.site, directory))
    sweep(path, check.setup(), cases, work, processes=processes, progress=progress)
    return path
