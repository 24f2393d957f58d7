"""An asynchronous run done again, in one process, from the order in which its workers reached the center."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from easgd_theory.algorithm import Algorithm
from easgd_theory.schedules import Asynchronous, RoundRobin
from gpu_trainer.averaging import Averaging
from gpu_trainer.center import checked_visits
from gpu_trainer.crew import Crew
from gpu_trainer.party import GradientOf, beginning


def replay(
    algorithm: Algorithm,
    schedule: Asynchronous,
    arrivals: np.ndarray,
    start: Tensor,
    gradient: GradientOf,
    averaging: Averaging | None = None,
) -> Iterator[Crew]:
    """Do a run again, arrival by arrival.

    The workers of a `Crew` visit its center in the order that was recorded; with the gradients of then, as functions of
    worker and clock, the center is the one of then, to rounding.

    Parameters
    ----------
    algorithm, schedule
        As the run had them.
    arrivals : array of `gpu_trainer.order.ARRIVAL`
        As `Center.arrivals` gives them, from the first one on.
    start : Tensor, shape (n,)
        Where every x began.
    gradient : callable
        The gradient's value for a worker, at its clock, at a point.
    averaging : Averaging, optional

    Yields
    ------
    Crew
        The workers and the center after each arrival: the same object every time.

    Raises
    ------
    ValueError
        If a visit is missing: a center that was restarted went back to its checkpoint, its workers did not.

    Examples
    --------
    >>> import torch
    >>> from easgd_theory import EASGD
    >>> from gpu_trainer.order import Order
    >>> order = Order()
    >>> for number, worker in enumerate([0, 1, 1, 0]):
    ...     order.append(worker, False, number // 2, 0, number, 0.0)
    >>> rule, schedule = EASGD(eta=0.5, alpha=0.1), Asynchronous(p=2)
    >>> *_, crew = replay(rule, schedule, order.arrivals(), torch.ones(1), lambda worker, clock, point: point)
    >>> crew.iterate.item()
    0.9049999713897705
    """
    checked_visits(algorithm, schedule)
    if len(arrivals) and not 0 <= arrivals["worker"].min() <= arrivals["worker"].max() < schedule.workers():
        most = int(arrivals["worker"].max())
        raise ValueError(f"arrivals must be of workers 0 to {schedule.workers() - 1}, got one of worker {most}")
    crew = Crew(algorithm, RoundRobin(p=schedule.p, tau=schedule.tau), start, averaging)
    for number, (worker, begins, clock) in enumerate(zip(*(arrivals[each].tolist() for each in _READ), strict=True)):
        if begins:
            crew.workers[worker], crew.clocks[worker] = beginning(crew.rule, crew.center.x)[0], clock
        elif crew.clocks[worker] != clock:
            raise ValueError(
                f"arrivals must have every visit of worker {worker}: that of clock {crew.clocks[worker]} is missing "
                f"before arrival {number}, which is that of clock {clock}"
            )
        else:
            crew.tick([worker], gradient)
        yield crew


_READ = ("worker", "begins", "clock")
