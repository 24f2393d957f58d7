"""What a run writes while it goes on: one JSON line an event."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from easgd_theory.files import finite

Tell = Callable[[dict[str, Any]], None]
"""Called with each event of the first process."""


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
