"""The phases of a visit, interpreted once: who reads the center before or after whom.

An algorithm that pushes first goes through *message, center, worker, local steps*; one that pushes after goes through
*worker, local steps, message, center*. Everything that runs a definition (maps, pencils, moments) runs it through here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from easgd_theory.algorithm import Algorithm

Gradient = Callable[[Any], Any]


def meet(rule: type[Algorithm], k: Any, tau: int, worker: Any, center: Any, gradient: Gradient) -> Any:
    """One worker after it met the center and took the other tau - 1 steps on its own (all tau without a center)."""
    if rule.center:
        g = gradient(rule.query(worker, center, k))
        worker = rule.Worker(*rule.visit(worker, center, k, g))
    for _ in range(tau - 1 if rule.center else tau):
        g = gradient(rule.local_query(worker, k))
        worker = rule.Worker(*rule.local(worker, k, g))
    return worker


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

    def step() -> None:
        for i in active:
            new[i] = meet(rule, k, tau, old[i], center, gradient)

    def absorbed() -> Any:
        senders = range(len(old)) if rule.gather == "all" else active
        if rule.pushes_first:
            messages = [rule.push_before(old[i], center, k) for i in senders]
        else:
            messages = [rule.push_after(old[i], new[i], center, k) for i in senders]
        total = _sum([weights[i] * message for i, message in zip(senders, messages, strict=True)])
        count = _sum([weights[i] for i in active])
        return rule.Center(*rule.absorb(center, total, k, count, _sum(weights)))

    if not rule.center:
        step()
    elif rule.pushes_first:
        center = absorbed()
        step()
    else:
        step()
        center = absorbed()
    return new, center


def _sum(values: Sequence[Any]) -> Any:
    """Sum without a start: the values need not add to the number 0."""
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total
