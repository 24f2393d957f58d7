"""The roll of the workers: who is awaited, here, lost, done."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from enum import IntEnum


class Standing(IntEnum):
    """Of one worker, as the center sees it."""

    AWAITED = 0
    HERE = 1
    LOST = 2
    DONE = 3


class Roll:
    """Who is there; methods may be called from many threads.

    A worker is a part in the run, 0 to p - 1; an *incarnation* is a process that plays it. A session that is not its
    worker's last one has no say any more.

    Parameters
    ----------
    p : int
    state : mapping, optional
        What `state` returned in a process before this one: who was here is awaited.
    """

    def __init__(self, p: int, state: Mapping[str, Sequence[int]] | None = None) -> None:
        self._lock = threading.Lock()
        self._standing, self._lost = [Standing.AWAITED] * p, dict[int, int]()
        if state is not None:
            kept = (Standing(each) for each in state["standing"])
            self._standing = [Standing.AWAITED if each is Standing.HERE else each for each in kept]
            self._lost = dict(zip(state["lost_incarnations"], state["lost_workers"], strict=True))
        self._since = [time.monotonic()] * p
        self._sessions, self._incarnations = [0] * p, [0] * p

    @property
    def lost(self) -> list[int]:
        """The workers that lost a process which did not come back, also where another took its place."""
        with self._lock:
            return sorted(self._lost.values())

    @property
    def done(self) -> list[int]:
        """The workers that have done their part."""
        with self._lock:
            return [worker for worker, standing in enumerate(self._standing) if standing is Standing.DONE]

    def arrive(self, worker: int, incarnation: int, session: int) -> None:
        """A process is here, in a session with that number."""
        with self._lock:
            if session < self._sessions[worker]:
                return
            if self._standing[worker] is Standing.HERE and incarnation != self._incarnations[worker]:
                self._lost[self._incarnations[worker]] = worker  # it was replaced before its session was seen to break
            self._lost.pop(incarnation, None)
            self._sessions[worker], self._incarnations[worker] = session, incarnation
            self._set(worker, Standing.HERE)

    def leave(self, worker: int, session: int) -> None:
        """It has done its part."""
        with self._lock:
            if session == self._sessions[worker]:
                self._set(worker, Standing.DONE)

    def lose(self, worker: int, session: int) -> bool:
        """Its session broke; returns whether it is lost by that."""
        with self._lock:
            lost = session == self._sessions[worker] and self._standing[worker] is Standing.HERE
            if lost:
                self._lost[self._incarnations[worker]] = worker
                self._set(worker, Standing.LOST)
            return lost

    def finished(self, silence: float, absence: float) -> bool:
        """Whether nobody is here or awaited; a worker that was not seen within `silence` seconds is lost then."""
        with self._lock:
            now, patience = time.monotonic(), {Standing.AWAITED: silence, Standing.LOST: absence, Standing.DONE: 0.0}
            for standing, since in zip(self._standing, self._since, strict=True):
                if standing is Standing.HERE or now - since < patience[standing]:
                    return False
            for worker, standing in enumerate(self._standing):
                if standing is Standing.AWAITED:
                    self._lost[-1 - worker] = worker
                    self._set(worker, Standing.LOST)
            return True

    def state(self) -> dict[str, list[int]]:
        """The roll as whole numbers."""
        with self._lock:
            return {
                "standing": list(map(int, self._standing)),
                "lost_incarnations": list(self._lost),
                "lost_workers": list(self._lost.values()),
            }

    def _set(self, worker: int, standing: Standing) -> None:
        self._standing[worker], self._since[worker] = standing, time.monotonic()
