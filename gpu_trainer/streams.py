"""Random numbers as a function of where they are used: no state of a generator is kept, sent or stored.

What a worker draws at a clock depends on the seed, the purpose, the worker and the clock, so that one process with p
workers and p processes with one each see the same, and a run resumes at any clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from operator import index

import numpy as np
import torch


def key(seed: int, purpose: str, *numbers: int) -> int:
    """A number in [0, 2^63) for an address; the same on every machine and in every version.

    Parameters
    ----------
    seed : int
        The run's.
    purpose : str
        What is drawn: two purposes never share their numbers.
    *numbers : int
        Where: a worker, a clock, an epoch.

    Returns
    -------
    int
        63 bits of BLAKE2b of the address.

    Raises
    ------
    TypeError
        If the seed or a number is not a whole number.

    Examples
    --------
    >>> key(0, "order", 1, 23) == key(0, "order", 1, 23), key(0, "order", 1, 23) == key(0, "order", 12, 3)
    (True, False)
    """
    address = repr((index(seed), purpose, *map(index, numbers)))
    return int.from_bytes(blake2b(address.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, purpose: str, *numbers: int) -> np.random.Generator:
    """A new generator of the address (see `key`), on the CPU: what it draws is the same for every device."""
    return np.random.default_rng(key(seed, purpose, *numbers))


@contextmanager
def drawing(device: torch.device | str, seed: int, purpose: str, *numbers: int) -> Iterator[None]:
    """A block in which torch's own random numbers, on the CPU and on `device`, are those of the address.

    It is for code that draws from torch's global generators: ``nn.Dropout``, the initial parameters of a module. They
    continue afterwards as if the block had drawn nothing. Of an address torch's CPU generator uses 32 bits, that of
    CUDA all; their numbers differ.

    Examples
    --------
    >>> with drawing("cpu", 0, "dropout", 1, 23):
    ...     first = torch.rand(2)
    >>> with drawing("cpu", 0, "dropout", 1, 23):
    ...     bool((torch.rand(2) == first).all())
    True
    """
    generators = [torch.default_generator]
    place = torch.device(device)
    if place.type == "cuda":
        torch.cuda.init()
        generators.append(
            torch.cuda.default_generators[torch.cuda.current_device() if place.index is None else place.index]
        )
    states = [each.get_state() for each in generators]
    try:
        for each in generators:
            each.manual_seed(key(seed, purpose, *numbers))
        yield
    finally:
        for each, state in zip(generators, states, strict=True):
            each.set_state(state)
