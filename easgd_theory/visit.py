"""The phases of a visit, written down once: who reads the center before or after whom.

An algorithm that pushes first goes through *message, center, worker, local steps*; one that pushes after goes through
*worker, local steps, message, center*. `tick` interprets the phases over any kind of number (maps, pencils, moments);
the simulator's kernels are composed from the same `phases` and `steps`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from easgd_theory.algorithm import Algorithm

Gradient = Callable[[Any], Any]


def phases(rule: type[Algorithm]) -> tuple[str, ...]:
    """What happens in a visit, in order; "meet" is the worker's part, its gradient steps (`steps`)."""
    if not rule.center:
        return ("meet",)
    return ("message", "center", "meet") if rule.pushes_first else ("meet", "message", "center")


def steps(rule: type[Algorithm], tau: int) -> tuple[int, int]:
    """Of the tau gradient steps of a visit: how many read the center, and how many the worker then takes alone."""
    return (1, tau - 1) if rule.center else (0, tau)


def meet(rule: type[Algorithm], k: Any, tau: int, worker: Any, center: Any, gradient: Gradient) -> Any:
    """One worker after all tau steps of its visit."""
    with_center, alone = steps(rule, tau)
    for _ in range(with_center):
        g = gradient(rule.query(worker, center, k))
        worker = rule.Worker(*rule.visit(worker, center, k, g))
    for _ in range(alone):
        g = gradient(rule.local_query(worker, k))
        worker = rule.Worker(*rule.local(worker, k, g))
    return worker


def message(rule: type[Algorithm], k: Any, old: Any, new: Any, center: Any) -> Any:
    """What a worker sends: from what it carried here, or once it has stepped."""
    return rule.push_before(old, center, k) if rule.pushes_first else rule.push_after(old, new, center, k)


def tick(
    rule: type[Algorithm],
    k: Any,
    tau: int,
    active: Iterable[int],
    workers: Sequence[Any],
    center: Any,
    gradient: Gradient,
    copies: Sequence[Any] | None = None,
) -> tuple[list[Any], Any]:
    """All variables after the `active` workers met the center together.

    Parameters
    ----------
    rule, k
        The algorithm, and its parameters as `Algorithm.pack` gives them.
    tau : int
        Gradient steps of each visit.
    active : iterable of int
        The workers that visit.
    workers, center
        The variables: a named tuple per worker, and one for the center.
    gradient : callable
        Returns the gradient's value at a point.
    copies : sequence of int or symbol, optional
        How many workers, all in the same state, each entry of `workers` stands for; by default 1 each.
    """
    active = list(active)
    old, new = list(workers), list(workers)
    weights = copies or [1] * len(old)

    for phase in phases(rule):
        if phase == "meet":
            for i in active:
                new[i] = meet(rule, k, tau, old[i], center, gradient)
        elif phase == "message":
            senders = range(len(old)) if rule.gather == "all" else active
            total = _sum([weights[i] * message(rule, k, old[i], new[i], center) for i in senders])
        else:
            count = _sum([weights[i] for i in active])
            center = rule.Center(*rule.absorb(center, total, k, count, _sum(weights)))
    return new, center


def _sum(values: Sequence[Any]) -> Any:
    """Sum without a start: the values need not add to the number 0."""
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total
