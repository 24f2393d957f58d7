"""Sessions: a process group of two, the center and one worker, made when they meet and gone when one of them is.

A group's members are fixed, and when one dies the group is of no more use. So each worker shares a group of its own
with the center: nobody else is touched when it breaks, and whoever comes, or comes back, makes a new one. They find
each other in a TCP store that neither of them keeps: a worker draws a number, leaves its card under it and rings; the
center welcomes it, and both make the group under that number, which nobody has used before.

torch.distributed has no authentication: whoever reaches the store or a session can read and change the run. Everything
stays on loopback unless another address is given.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

LOOPBACK = "127.0.0.1"
HEADER = 3
"""Whole numbers that go before the tensors of a message."""

_CENTER, _WORKER = 0, 1
_AGAIN = "again"  # said to a worker whose number is too low
_CONNECT = 1.0, 20.0  # seconds in which processes that both want to meet have met: at least, at most
_LOOK = 0.02  # seconds from one look at the store to the next
_PATIENT = 0.1  # of a worker that has waited for a while

Card = Mapping[str, Any]
"""What a worker says of itself when it comes; JSON."""


class SessionLost(ConnectionError):
    """The other process does not answer any more."""


class RunOver(ConnectionError):
    """There is no center to come to: the run is over, or it has not been found for too long."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the center and its workers find each other, and how long they wait.

    Attributes
    ----------
    port : int
        Of the store.
    address : str
        Of the machine that keeps the store.
    name : str
        Of the run: several may share a store, and a run that is begun anew needs a new name.
    own : str
        The address of this machine under which the others reach it.
    silence : float
        Seconds without an answer after which a session is given up; also how long a worker looks for the center, and
        the center waits for a worker that it has not seen.
    absence : float
        Seconds after which the center, with nobody else to wait for, does not wait any more for a worker it has lost.
    """

    port: int
    address: str = LOOPBACK
    name: str = "run"
    own: str = LOOPBACK
    silence: float = 300.0
    absence: float = 10.0

    def __post_init__(self) -> None:
        for name in ("silence", "absence"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
                raise ValueError(f"{name} must be a positive number of seconds, got {value!r}")

    @property
    def patience(self) -> timedelta:
        """With one who wants to meet: a tenth of `silence`, as gloo tries five times, and the other may have died."""
        least, most = _CONNECT
        return timedelta(seconds=min(max(least, 0.1 * self.silence), most))

    def store(self) -> dist.Store:
        """A connection of one's own to the store: it is not shared between threads, where one would block another."""
        with _lost():
            store = dist.TCPStore(self.address, self.port, is_master=False, timeout=self.patience)
        return dist.PrefixStore(self.name, store)

    def join(self, card: Card) -> tuple[int, Session]:
        """As a worker, come to the center; returns the session and its number, which only ever grows.

        Raises
        ------
        RunOver
            If there is no center within `silence`.
        ValueError
            If the center does not know this worker.
        """
        began, pause = time.monotonic(), _LOOK
        while time.monotonic() - began < self.silence:
            try:
                return self._knock(card, began)
            except SessionLost:
                time.sleep(pause)
                pause = min(2 * pause, _PATIENT)
        raise RunOver(f"no center was found for {self.silence:g} s")

    def _knock(self, card: Card, began: float) -> tuple[int, Session]:
        store = self.store()
        with _lost():
            number = store.add("sessions", 1)
            store.set(f"card/{number}", json.dumps(card))
            store.add("bell", 1)
            while not store.check([f"welcome/{number}"]):
                waited = time.monotonic() - began
                if store.check(["over"]):
                    raise RunOver("the run is over")
                if waited > self.silence:
                    raise RunOver(f"no center was found for {self.silence:g} s")
                time.sleep(_LOOK if waited < 2 else _PATIENT)
            said = store.get(f"welcome/{number}").decode()
        if said == _AGAIN:
            raise SessionLost(said)
        if said:
            raise ValueError(said)
        return number, self.session(store, number, _WORKER)

    def session(self, store: dist.Store, number: int, rank: int) -> Session:
        """One end of a session."""
        return Session(dist.PrefixStore(f"session/{number}", store), rank, self)


class Door:
    """The center's side of a place: who has come.

    Parameters
    ----------
    place : Place
    last : int
        The highest number that a process of a worker ever had: those to come are above it, even if the store is new.
    """

    def __init__(self, place: Place, last: int) -> None:
        self._place, self._store = place, place.store()
        self._heard, self._next, self._last, self._open = 0, 1, last, set[int]()
        known = self._store.add("sessions", 0)
        if known < last:
            self._store.add("sessions", last - known)
        self._store.add("bell", 0)

    def cards(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """The numbers and cards of those who have come since the last look and were not welcomed yet."""
        heard = int(self._store.get("bell"))
        if heard == self._heard:
            return
        self._heard, last = heard, self._store.add("sessions", 0)
        self._open |= set(range(self._next, last + 1))
        self._next = last + 1
        for number in sorted(self._open):
            if self._store.check([f"welcome/{number}"]):  # by a center before this one
                self._open.remove(number)
            elif self._store.check([f"card/{number}"]):
                self._open.remove(number)
                if number <= self._last:
                    self._store.set(f"welcome/{number}", _AGAIN)
                    continue
                yield number, json.loads(self._store.get(f"card/{number}"))

    def refuse(self, number: int, reason: str) -> None:
        """Send a worker away with a sentence."""
        self._store.set(f"welcome/{number}", reason)

    def welcome(self, number: int) -> Session:
        """Make the session with a worker; for a thread of its own, as that worker may be gone."""
        store = self._place.store()
        with _lost():
            store.set(f"welcome/{number}", "")
        return self._place.session(store, number, _CENTER)

    def close(self) -> None:
        """Whoever comes from now on is told that the run is over."""
        self._store.set("over", "")


class Session:
    """One end of a process group of two.

    Messages are a header of whole numbers and tensors whose count and shape both ends know. Tensors travel through
    memory of the CPU, by gloo.

    Parameters
    ----------
    store : torch.distributed.Store
        Used by this session alone.
    rank : int
        0 for the center, 1 for the worker.
    place : Place
    """

    def __init__(self, store: dist.Store, rank: int, place: Place) -> None:
        self._other, self._silence = 1 - rank, timedelta(seconds=place.silence)
        gloo: Any = dist.ProcessGroupGloo  # its type stub knows neither options nor messages
        options = gloo._Options()
        options._devices = [gloo.create_device(hostname=place.own)]
        options._timeout = place.patience
        options._threads = 1
        with _lost():
            self._group = gloo(store, rank, 2, options)

    def send(self, header: Sequence[int], tensors: Sequence[Tensor]) -> None:
        """Send a message; raises SessionLost if the other end is gone."""
        first = torch.tensor(header, dtype=torch.int64)
        with _lost():
            self._wait([self._group.send([each], self._other, tag) for tag, each in enumerate([first, *tensors])])

    def receive(self, count: int, like: Tensor) -> tuple[list[int], list[Tensor]]:
        """The next message, of so many tensors; raises SessionLost if the other end is gone."""
        first, tensors = torch.empty(HEADER, dtype=torch.int64), [torch.empty_like(like) for _ in range(count)]
        with _lost():
            self._wait([self._group.recv([each], self._other, tag) for tag, each in enumerate([first, *tensors])])
        return first.tolist(), tensors

    def ask(self, header: Sequence[int], tensors: Sequence[Tensor], count: int) -> tuple[list[int], list[Tensor]]:
        """Send a message and receive the reply."""
        self.send(header, tensors)
        return self.receive(count, tensors[0])

    def _wait(self, works: Sequence[Any]) -> None:
        for work in works:
            work.wait(self._silence)


@contextmanager
def hosted_store(address: str = LOOPBACK, port: int = 0) -> Iterator[int]:
    """Keep a store, for as long as a run takes, in a process that outlives center and workers; yields its port.

    It listens on `address` alone, and on a free port where none is given.
    """
    listening = socket.create_server((address, port))
    port = listening.getsockname()[1]
    store = dist.TCPStore(
        address, port, is_master=True, wait_for_workers=False, master_listen_fd=listening.detach()
    )  # fmt: skip
    try:
        yield port
    finally:
        del store


@contextmanager
def _lost() -> Iterator[None]:
    """A block in which an error of torch.distributed means that the other process is gone."""
    try:
        yield
    except RuntimeError as error:
        raise SessionLost(str(error).splitlines()[0]) from error
