"""The phases of a visit, written down once: who reads the center before or after whom.

An algorithm that pushes first goes through *message, center, worker, local steps*; one that pushes after goes through
*worker, local steps, message, center*. A visit is a conversation (`Visit`): the worker asks for the center, for
gradients, and for its message to be absorbed. `tick` answers over any kind of number (maps, pencils, moments), the
trainer over tensors and between processes; the simulator's kernels are composed from the same `phases` and `steps`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from easgd_theory.algorithm import Algorithm

Gradient = Callable[[Any], Any]


class Point(NamedTuple):
    """A worker asks for the value of its gradient at `value`."""

    value: Any


class Push(NamedTuple):
    """A worker wants the center to absorb its message; the answer is None, once that is under way."""

    message: Any


class Pull(NamedTuple):
    """A worker asks for the center."""


Request = Point | Push | Pull


def phases(rule: type[Algorithm]) -> tuple[str, ...]:
    """What happens in a visit, in order; "meet" is the worker's part, its gradient steps (`steps`)."""
    if not rule.center:
        return ("meet",)
    return ("message", "center", "meet") if rule.pushes_first else ("meet", "message", "center")


def steps(rule: type[Algorithm], tau: int) -> tuple[int, int]:
    """Of the tau gradient steps of a visit: how many read the center, and how many the worker then takes alone."""
    return (1, tau - 1) if rule.center else (0, tau)


def message(rule: type[Algorithm], k: Any, old: Any, new: Any, center: Any) -> Any:
    """What a worker sends: from what it carried here, or once it has stepped."""
    return rule.push_before(old, center, k) if rule.pushes_first else rule.push_after(old, new, center, k)


def meet(rule: type[Algorithm], k: Any, tau: int, worker: Any, center: Any, gradient: Gradient) -> Any:
    """One worker after all tau steps of its visit."""
    asked = _meeting(rule, lambda step: k, tau, worker, center)
    value = None
    while True:
        try:
            value = gradient(asked.send(value).value)
        except StopIteration as end:
            return end.value


class Visit:
    """One worker's visit in progress.

    Parameters
    ----------
    rule : type of Algorithm
    k : callable
        The parameters, as `Algorithm.pack` gives them, at each gradient step of the visit, counted from 0; message and
        center take those of step 0.
    tau : int
        Gradient steps of the visit.
    worker : named tuple
        The worker's variables.

    Attributes
    ----------
    request : Point, Push, Pull or None
        What the worker waits for; None when the visit is over.
    worker : named tuple
        Its variables; they change when the visit is over.
    """

    def __init__(self, rule: type[Algorithm], k: Callable[[int], Any], tau: int, worker: Any) -> None:
        self.worker = worker
        self._talk = _conversation(rule, k, tau, worker)
        self.request: Request | None = next(self._talk)

    def answer(self, value: Any = None) -> None:
        """Give the worker what it waits for: a gradient's value, the center's variables, or None after a push."""
        try:
            self.request = self._talk.send(value)
        except StopIteration as end:
            self.request, self.worker = None, end.value

    def proceed(self, center: Any, gradient: Gradient) -> None:
        """Go on to the next push, or to the end."""
        while isinstance(self.request, Point | Pull):
            self.answer(gradient(self.request.value) if isinstance(self.request, Point) else center)


def _conversation(
    rule: type[Algorithm], k: Callable[[int], Any], tau: int, worker: Any
) -> Generator[Request, Any, Any]:
    """A worker's part in a visit.

    What need not wait does not: a message that does not read the steps is sent on arrival, and where it reads them, a
    gradient that does not read the center is taken before the worker asks for it.
    """
    order = phases(rule)
    if "center" not in order:
        return (yield from _meeting(rule, k, tau, worker, None))
    pulls_again = order.index("center") < order.index("meet")
    on_arrival = order.index("message") < order.index("meet") or not message_reads_steps(rule)
    first = None
    if not on_arrival and not gradient_reads_center(rule):
        first = yield Point(rule.query(worker, None, k(0)))
    center = yield Pull()
    if on_arrival:
        yield Push(message(rule, k(0), worker, worker, center))
        if pulls_again:
            center = yield Pull()
        return (yield from _meeting(rule, k, tau, worker, center))
    new = yield from _meeting(rule, k, tau, worker, center, first)
    yield Push(message(rule, k(0), worker, new, center))
    return new


def _meeting(
    rule: type[Algorithm], k: Callable[[int], Any], tau: int, worker: Any, center: Any, first: Any = None
) -> Generator[Point, Any, Any]:
    """The tau steps of a visit; `first` is the value of the first gradient, if it is known already."""
    with_center, alone = steps(rule, tau)
    for step in range(with_center):
        known = first is not None and step == 0
        g = first if known else (yield Point(rule.query(worker, center, k(step))))
        worker = rule.Worker(*rule.visit(worker, center, k(step), g))
    for step in range(with_center, with_center + alone):
        g = yield Point(rule.local_query(worker, k(step)))
        worker = rule.Worker(*rule.local(worker, k(step), g))
    return worker


class _Read(Exception):  # a sentence would be of no use: it never leaves this module
    pass


class _Unreadable:
    """Stands for variables that a function may or may not read."""

    def __getattr__(self, name: str) -> Any:
        raise _Read

    def __getitem__(self, index: int) -> Any:
        raise _Read


def _reads(function: Callable[..., Any], *arguments: Any) -> bool:
    try:
        function(*arguments)
    except _Read:
        return True
    return False


def message_reads_steps(rule: Any) -> bool:
    """Whether a worker of an algorithm must have stepped before it knows its message (ADMM; not EASGD)."""
    return _readings(rule)[0]


def gradient_reads_center(rule: Any) -> bool:
    """Whether a visit's first gradient is taken at a point that depends on the center (DOWNPOUR; not EASGD)."""
    return _readings(rule)[1]


@cache
def _readings(rule: Any) -> tuple[bool, bool]:
    worker, center = rule.Worker(*[1.0] * len(rule.worker)), rule.Center(*[1.0] * len(rule.center))
    k = rule().pack(dict.fromkeys(rule.parameters(), 0.5))
    message_reads = not rule.pushes_first and _reads(rule.push_after, worker, _Unreadable(), center, k)
    return message_reads, _reads(rule.query, worker, _Unreadable(), k)


class Luggage(NamedTuple):
    """What travels in a visit to a center that is elsewhere, where a turn is one request and one reply.

    Attributes
    ----------
    worker : tuple of str
        The worker's variables that its message is computed from; they and the `gradients` go to the center.
    gradients : int
        Gradients that the message is computed from; they are taken before.
    center : tuple of str
        The center's variables that the worker reads; they come back.
    pulls_again : bool
        Whether they come back as they are once the center has absorbed the message (DOWNPOUR; not EASGD).
    """

    worker: tuple[str, ...]
    gradients: int
    center: tuple[str, ...]
    pulls_again: bool


class _Noted:
    """Variables that note which of them are read."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names, self._read = names, set[str]()

    def __getattr__(self, name: str) -> float:
        if name not in self._names:
            raise AttributeError(name)
        self._read.add(name)
        return 1.0

    def read(self) -> tuple[str, ...]:
        return tuple(name for name in self._names if name in self._read)


@cache
def luggage(rule: Any, tau: int) -> Luggage:
    """What travels in a visit, as the visit itself tells it.

    Raises
    ------
    ValueError
        If there is no center, or a message depends on gradients that are taken after the center was read: then a turn
        at the center would last as long as they take.
    """
    if not rule.center:
        raise ValueError(f"{rule.__name__} has no center to visit")
    worker, center = _Noted(rule.worker), _Noted(rule.center)
    k = rule().pack(dict.fromkeys(rule.parameters(), 0.5))
    visit, gradients, pulled = Visit(rule, lambda step: k, tau, worker), 0, False
    while not isinstance(visit.request, Push):
        if isinstance(visit.request, Point):
            if pulled:
                raise ValueError(
                    f"{rule.__name__} cannot visit a center elsewhere with tau={tau}: its message depends on gradients "
                    "that are taken after the center was read"
                )
            gradients += 1
        pulled = pulled or isinstance(visit.request, Pull)
        visit.answer(center if isinstance(visit.request, Pull) else 1.0)
    carried = worker.read()
    visit.answer()
    pulls_again = isinstance(visit.request, Pull)
    visit.proceed(center, lambda point: 1.0)
    return Luggage(carried, gradients, center.read(), pulls_again)


def first_point(rule: type[Algorithm], k: Any, worker: Any) -> Any:
    """Where a visit's first gradient is taken, if that is known before the center is; else None."""
    return None if gradient_reads_center(rule) else rule.query(worker, None, k)


def turn(
    rule: type[Algorithm],
    k: Any,
    visits: tuple[int, Visit],
    gradients: Sequence[Any],
    center: Any,
    latest: Mapping[int, Any],
    p: int,
) -> tuple[Any, Any]:
    """One worker's turn, at the center: the same conversation, as far as it takes place there.

    Parameters
    ----------
    rule, k
        The algorithm, and its parameters as message and center take them.
    visits : tuple of int and Visit
        Who visits, and the visit, just begun; of the worker's variables those in its `luggage` are known.
    gradients : sequence
        Those that came with it.
    center
        The center's variables.
    latest : mapping
        Everyone's latest message, by worker, if the algorithm gathers all; else nothing.
    p : int
        Number of workers.

    Returns
    -------
    message, center
        What the center was sent, and the center after it has absorbed that.
    """
    worker, visit = visits
    values = iter(gradients)
    visit.proceed(center, lambda point: next(values))
    assert isinstance(visit.request, Push)
    sent = {**latest, worker: visit.request.message}
    total = _sum([sent[i] for i in sorted(sent)])
    return sent[worker], rule.Center(*rule.absorb(center, total, k, 1, p))


def exchange(
    rule: type[Algorithm],
    k: Any,
    visits: Mapping[int, Visit],
    workers: Sequence[Any],
    center: Any,
    gradients: Mapping[int, Gradient],
    copies: Sequence[Any] | None = None,
) -> Any:
    """Take the visits of workers who meet the center together to their end; returns the center after them.

    Parameters
    ----------
    rule, k
        The algorithm, and its parameters as message and center take them.
    visits : mapping
        The visits that have just begun, by worker.
    workers, center
        All workers' variables before, and the center's.
    gradients : mapping
        By worker, what returns the gradient's value at a point.
    copies : sequence of int or symbol, optional
        How many workers, all in the same state, each entry of `workers` stands for; by default 1 each.
    """
    for i, visit in visits.items():
        visit.proceed(center, gradients[i])
    if rule.center:
        weights = copies or [1] * len(workers)
        sent = {i: visit.request.message for i, visit in visits.items() if isinstance(visit.request, Push)}
        if rule.gather == "all":
            idle = (i for i in range(len(workers)) if i not in visits)
            sent |= {i: message(rule, k, workers[i], workers[i], center) for i in idle}
        total = _sum([weights[i] * sent[i] for i in sorted(sent)])
        count = _sum([weights[i] for i in visits])
        center = rule.Center(*rule.absorb(center, total, k, count, _sum(weights)))
        for i, visit in visits.items():
            visit.answer()
            visit.proceed(center, gradients[i])
    return center


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
        As for `exchange`.
    """
    visits = {i: Visit(rule, lambda step: k, tau, workers[i]) for i in active}
    center = exchange(rule, k, visits, workers, center, dict.fromkeys(visits, gradient), copies)
    return [visits[i].worker if i in visits else worker for i, worker in enumerate(workers)], center


def _sum(values: Sequence[Any]) -> Any:
    """Sum without a start: the values need not add to the number 0."""
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total
