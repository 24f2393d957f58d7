"""The order in which workers reached the center: what is needed to do an asynchronous run again."""

from __future__ import annotations

from pathlib import Path

import numpy as np

ARRIVAL = np.dtype(
    [
        ("worker", np.int32),
        ("begins", np.bool_),
        ("clock", np.int64),
        ("pulled", np.int64),
        ("version", np.int64),
        ("seconds", np.float64),
    ]
)
"""One arrival.

``worker``; ``begins``: it took x from the center and nothing else (a replacement, or after a push that was refused),
otherwise this was a visit; ``clock``: the worker's gradient steps before it; ``version``: messages that the center had
absorbed before; ``pulled``: that number when this worker had last pulled the center; ``seconds``: since the start.
"""

COLUMNS: tuple[str, ...] = ARRIVAL.names or ()


class Order:
    """Arrivals, one after the other.

    Parameters
    ----------
    first : array of ARRIVAL, optional
        Those so far.

    Examples
    --------
    >>> order = Order()
    >>> order.append(0, False, 0, 0, 0, 0.5)
    >>> order.append(1, False, 0, 0, 1, 0.7)
    >>> order.arrivals()["worker"].tolist(), staleness(order.arrivals()).tolist()
    ([0, 1], [0, 1])
    """

    def __init__(self, first: np.ndarray | None = None) -> None:
        self._rows = np.empty(0, dtype=ARRIVAL) if first is None else first.astype(ARRIVAL)
        self._count = len(self._rows)

    def __len__(self) -> int:
        return self._count

    def append(self, worker: int, begins: bool, clock: int, pulled: int, version: int, seconds: float) -> None:
        """One more."""
        if self._count == len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros(max(256, self._count), dtype=ARRIVAL)])
        self._rows[self._count] = (worker, begins, clock, pulled, version, seconds)
        self._count += 1

    def arrivals(self, since: int = 0) -> np.ndarray:
        """All of them from the one numbered `since` on, as an array of `ARRIVAL`; a copy."""
        return self._rows[since : self._count].copy()


def staleness(arrivals: np.ndarray) -> np.ndarray:
    """How many messages of others each visit found absorbed since its worker had last pulled the center."""
    visits = arrivals[~arrivals["begins"]]
    return visits["version"] - visits["pulled"]


def write_order(arrivals: np.ndarray, path: Path) -> None:
    """Write arrivals as a table, ``order.csv``."""
    np.savetxt(path, arrivals, "%d,%d,%d,%d,%d,%.6f", header=",".join(COLUMNS), comments="")


def read_order(path: Path) -> np.ndarray:
    """What `write_order` wrote; raises ValueError where it is another table."""
    try:
        with path.open() as file:
            if file.readline().strip() != ",".join(COLUMNS):
                raise ValueError
            table = np.array([line.split(",") for line in file], dtype=float).reshape(-1, len(COLUMNS))
    except (OSError, ValueError):
        raise ValueError(f"order must be the order.csv of an asynchronous run, got {str(path)!r}") from None
    rows = np.zeros(len(table), dtype=ARRIVAL)
    for name, column in zip(COLUMNS, table.T, strict=True):
        rows[name] = column
    return rows
