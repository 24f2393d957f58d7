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
    copies: Any = 1,
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
    copies : int or symbol
        Each entry of `workers` stands for this many workers in the same state.
    """
    active = list(active)
    old, new = list(workers), list(workers)

    def step() -> None:
        for i in active:
            new[i] = meet(rule, k, tau, old[i], center, gradient)

    def absorbed() -> Any:
        senders = range(len(old)) if rule.gather == "all" else active
        if rule.pushes_first:
            messages = [rule.push_before(old[i], center, k) for i in senders]
        else:
            messages = [rule.push_after(old[i], new[i], center, k) for i in senders]
        total = messages[0] if len(messages) == 1 else _total(messages)
        p, count = copies * len(old), copies * len(active)
        return rule.Center(*rule.absorb(center, copies * total, k, count, p))

    if not rule.center:
        step()
    elif rule.pushes_first:
        center = absorbed()
        step()
    else:
        step()
        center = absorbed()
    return new, center


def _total(messages: Sequence[Any]) -> Any:
    total = messages[0]
    for message in messages[1:]:
        total = total + message
    return total
