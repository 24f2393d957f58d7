"""The state of a run: all that it takes to go on to the same bits."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True, eq=False)
class State:
    """A run after some of its rounds, and what it has recorded so far.

    Attributes
    ----------
    identity : str
        A digest of everything that decides about the run's bits.
    done : int
        Rounds recorded, the start among them.
    workers, center : ndarray
        Shapes (variables, p, d, replicas) and (variables, d, replicas).
    diverged : ndarray, shape (replicas,)
        The round at which a replica diverged, or -1.
    clocks : ndarray, shape (p, replicas) or (0, replicas)
        Gradient steps that each worker has made, where the order of visits is drawn.
    record : ndarray
        Rows of observables, shape (done, columns, replicas), or count, mean and sum of squared deviations, shape
        (3, done, columns).
    """

    identity: str
    done: int
    workers: np.ndarray
    center: np.ndarray
    diverged: np.ndarray
    clocks: np.ndarray
    record: np.ndarray

    def save(self, path: Path) -> None:
        """Write to a file, or leave the old one as it is: never half of either."""
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            with part.open("wb") as file:
                np.savez(file, **vars(self))
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
            with np.load(path, allow_pickle=False) as file:
                fields = {name: file[name] for name in cls.__dataclass_fields__}
        except (ValueError, KeyError, OSError, EOFError) as error:
            raise ValueError(f"checkpoint must be the state of a simulation, but {path} is none: {error}") from None
        return cls(**fields | {"identity": str(fields["identity"]), "done": int(fields["done"])})
