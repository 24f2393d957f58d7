"""The state of a run: all that it takes to go on to the same bits."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np


@dataclass(frozen=True, eq=False)
class Block:
    """The state of some replicas ("lanes"), from replica `first` on.

    Where a schedule does not need an array, that is empty.

    Attributes
    ----------
    workers : ndarray, shape (variables, p * d * lanes)
    center : ndarray, shape (variables, d * lanes)
    diverged, ended : int ndarrays, shape (lanes,)
        The round at which a replica diverged, or for which there were not enough events any more; or -1.
    clocks : int ndarray, shape (p, lanes)
        Gradient steps that each worker has made, where the order of visits is drawn.
    due : ndarray, shape (p, lanes)
        The time of each worker's next event.
    events : int ndarray, shape (p, lanes)
        How many events each worker has had.
    seen : int ndarray, shape (p, lanes)
        How many messages the center had absorbed when each worker pulled last.
    known : ndarray, shape (variables, p * d * lanes)
        Of a split exchange: every worker at its last push.
    pulled : ndarray, shape (variables of the center, p * d * lanes)
        Of a split exchange: the center at every worker's last pull.
    """

    first: int
    workers: np.ndarray
    center: np.ndarray
    diverged: np.ndarray
    ended: np.ndarray
    clocks: np.ndarray
    due: np.ndarray
    events: np.ndarray
    seen: np.ndarray
    known: np.ndarray
    pulled: np.ndarray

    @property
    def lanes(self) -> int:
        return len(self.diverged)

    def arrays(self) -> Iterator[tuple[str, np.ndarray]]:
        """Names and arrays, the replicas as their last dimension."""
        for name in ARRAYS:
            array = getattr(self, name)
            yield name, array.reshape(*array.shape[:-1], array.shape[-1] // self.lanes, self.lanes)


ARRAYS = tuple(field.name for field in fields(Block) if field.name != "first")


@dataclass(frozen=True, eq=False)
class State:
    """A run after some of its rounds, and what it has recorded so far.

    Attributes
    ----------
    identity : str
        A digest of everything that decides about the run's bits.
    done : int
        Rounds recorded, the start among them.
    record : ndarray
        Rows of observables, shape (done, columns, replicas), or count, mean and sum of squared deviations, shape
        (3, done, columns).
    arrays : mapping
        Those of `Block` by name, of all replicas.
    """

    identity: str
    done: int
    record: np.ndarray
    arrays: dict[str, np.ndarray]

    @classmethod
    def of(cls, identity: str, done: int, record: np.ndarray, blocks: Sequence[Block]) -> State:
        """The blocks side by side."""
        parts = [dict(block.arrays()) for block in blocks]
        joined = {name: np.concatenate([part[name] for part in parts], axis=-1) for name in ARRAYS}
        return cls(identity, done, record, joined)

    def put_into(self, block: Block) -> None:
        """The block's part of the arrays."""
        for name, target in block.arrays():
            target[...] = self.arrays[name][..., block.first : block.first + block.lanes]

    def save(self, path: Path) -> None:
        """Write to a file, or leave the old one as it is: never half of either."""
        everything: dict[str, Any] = {
            "identity": self.identity,
            "done": self.done,
            "record": self.record,
            **self.arrays,
        }
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            with part.open("wb") as file:
                np.savez(file, **everything)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path) -> State:
        """Read what `save` wrote.

        Raises
        ------
        ValueError
            The file is something else.
        """
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
                arrays = {name: found[name] for name in ARRAYS}
                return cls(str(found["identity"]), int(found["done"]), found["record"], arrays)
        except (TypeError, ValueError, KeyError, OSError, EOFError, BadZipFile) as error:
            raise ValueError(f"checkpoint must be the state of a simulation, but {path} is none: {error}") from None
