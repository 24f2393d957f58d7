"""What is kept of a run, and what it writes while it goes on: one JSON line an event."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from easgd_theory.files import finite

Tell = Callable[[dict[str, Any]], None]
"""Called with each event of the first process."""


LOOK = 10
"""Steps, and at least a visit, after which a run is looked at and its workers are recorded."""


@dataclass(frozen=True, kw_only=True)
class Keep:
    """What is kept of a run, and how often.

    Attributes
    ----------
    directory : Path, optional
        Where ``metrics.jsonl``, ``result.json``, ``center.safetensors`` and ``checkpoints/`` go; None: nowhere.
    evaluate_every, checkpoint_every : int, optional
        Steps from one measurement of the center, or one checkpoint, to the next; by default a tenth of the run.
    resume : bool
        Go on from the last checkpoint in the directory, if there is one.
    measure_afterwards : bool
        Of an asynchronous run: keep the center in memory at each of these steps, and measure all when the workers are
        done, so that measuring takes no time from them. A loss that grows beyond bounds then ends no run early.
    """

    directory: Path | None = None
    evaluate_every: int | None = None
    checkpoint_every: int | None = None
    resume: bool = False
    measure_afterwards: bool = False

    def __post_init__(self) -> None:
        for name in ("evaluate_every", "checkpoint_every"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")

    def evaluations(self, last: int) -> int:
        """Steps from one measurement to the next in a run of so many."""
        return self.evaluate_every or max(1, last // 10)

    def checkpoints(self, last: int) -> int:
        """Steps from one checkpoint to the next in a run of so many."""
        return self.checkpoint_every or max(1, last // 10)


class Records:
    """The events of one process, in a file that all processes share: lines are written whole.

    Parameters
    ----------
    path : Path or None
        A JSON Lines file, that is made or continued. None: nothing is written.
    rank : int
    tell : callable, optional
        Called with each event, too.
    """

    def __init__(self, path: Path | None, rank: int, tell: Tell | None = None) -> None:
        self._rank, self._tell = rank, tell
        self._file = None if path is None else os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(self, event: str, **values: Any) -> None:
        """An event, as a record of its values."""
        record = finite({"event": event, "rank": self._rank, **values})
        if self._file is not None:
            os.write(self._file, (json.dumps(record) + "\n").encode())
        if self._tell is not None:
            self._tell(record)

    def close(self) -> None:
        """No more events."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
