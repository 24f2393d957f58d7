"""Where the time of a run goes: computing, loading data, waiting for the others, communicating."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

KINDS = ("compute", "data", "wait", "communicate")


class Stopwatch:
    """Adds up seconds by kind; a block within a block counts for the inner one only.

    Parameters
    ----------
    device : torch.device or str, default "cpu"
        On an accelerator each block ends when the work that it gave to the device is done.

    Attributes
    ----------
    seconds : dict of str to float
        By kind: ``compute``, ``data``, ``wait``, ``communicate``.

    Examples
    --------
    >>> watch = Stopwatch()
    >>> with watch("compute"), watch("data"):
    ...     pass
    >>> list(watch.seconds), watch.total == sum(watch.seconds.values())
    (['compute', 'data', 'wait', 'communicate'], True)
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.seconds = dict.fromkeys(KINDS, 0.0)
        self._waits = torch.device(device).type == "cuda"
        self._kind: str | None = None
        self._since = 0.0

    @property
    def total(self) -> float:
        """Of all kinds together."""
        return sum(self.seconds.values())

    @contextmanager
    def __call__(self, kind: str) -> Iterator[None]:
        """A block whose seconds are of this kind."""
        outer = self._kind
        self._turn(kind)
        try:
            yield
        finally:
            self._turn(outer)

    def _turn(self, kind: str | None) -> None:
        """What has passed counts for the kind so far; from now on it counts for `kind`."""
        if self._waits:
            torch.cuda.synchronize()
        now = time.perf_counter()
        if self._kind is not None:
            self.seconds[self._kind] += now - self._since
        self._kind, self._since = kind, now
