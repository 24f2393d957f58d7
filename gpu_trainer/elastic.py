"""`ElasticAveraging`: an algorithm in the place of an optimizer, in a training loop of one's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn

from easgd_theory.algorithm import Algorithm, as_bool
from easgd_theory.schedules import Schedule
from gpu_trainer.flat import Flat
from gpu_trainer.group import Group
from gpu_trainer.member import Member, Points
from gpu_trainer.party import check_weight_decay


class ElasticAveraging:
    r"""Train one model with many workers: this process is one of them.

    It takes the optimizer's place. The model always stands where the next gradient is due: at :math:`x + \delta v` for
    EAMSGD, at the center that was just pulled for DOWNPOUR. What is communicated, and when, follows from the algorithm
    and the schedule; every process must make the same number of steps.

    Parameters
    ----------
    model : torch.nn.Module
        All processes begin where the first one's model stands.
    algorithm : Algorithm
        All parameters given: numbers, or functions of the worker's clock, the number of steps that it has made; a
        learning rate that decays is ``EASGD(eta=lambda t: 0.1 / (1 + 1e-4 * t) ** 0.5, alpha=0.1)``.
    schedule : Synchronous or RoundRobin
        Its p must be the number of processes.
    weight_decay : float, default 0
        Adds ``weight_decay`` times the point to each gradient: an l2 term of the objective.
    average_buffers : bool, optional
        What `center` does with buffers such as batch normalisation's running statistics, which no algorithm speaks of.
        True: the model holds the mean of all workers' floating buffers, and every process must enter `center`. False:
        it holds this worker's own. Needed where the model has such buffers.
    group : torch.distributed.ProcessGroup, optional
        By default all processes. Without `torch.distributed` this process is the only worker.

    Raises
    ------
    TypeError, ValueError
        A bad value; an algorithm that is not defined on the schedule; a model whose parameters differ in dtype or
        device, or that has buffers of which nothing is said.

    Notes
    -----
    Clip the gradient between ``backward`` and `step`, as with any optimizer. Optimizers and learning-rate schedulers of
    torch have no part in it.

    References
    ----------
    Zhang, Choromanska, LeCun (2015), arXiv:1412.6651: eqs. 5-6 (synchronous), 9-13 (round-robin).

    Examples
    --------
    >>> import torch
    >>> from easgd_theory import MSGD, Synchronous
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> with ElasticAveraging(model, MSGD(eta=0.1, delta=0.9), Synchronous(p=1)) as elastic:
    ...     for _ in range(100):
    ...         elastic.zero_grad()
    ...         loss = model(torch.ones(1)).square().sum() / 2
    ...         loss.backward()
    ...         elastic.step()
    >>> bool(model.weight.abs() < 0.01)
    True
    """

    def __init__(
        self,
        model: nn.Module,
        algorithm: Algorithm,
        schedule: Schedule,
        *,
        weight_decay: float = 0.0,
        average_buffers: bool | None = None,
        group: dist.ProcessGroup | None = None,
    ) -> None:
        check_weight_decay(weight_decay)
        self._decay = float(weight_decay)
        self._buffers = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
        if self._buffers and average_buffers is None:
            raise ValueError(
                "average_buffers must be True (the center has the mean of the workers' buffers) or False (each worker "
                "keeps its own), for the model has buffers that are not parameters"
            )
        self._average = average_buffers is not None and as_bool("average_buffers", average_buffers)
        self._flat, self._group = Flat(model), Group(group)
        self._member = Member(algorithm, schedule, self._flat.point(), self._group)
        self._points: Points
        self._due: Tensor
        self._begin()

    def __enter__(self) -> ElasticAveraging:
        return self

    def __exit__(self, *error: object) -> None:
        self._flat.load(self._iterate())

    def zero_grad(self) -> None:
        """Forget the gradient of the last step."""
        self._flat.zero_gradient()

    def step(self) -> None:
        """Take a step with the gradient that backward has left, and load the point where the next one is due."""
        gradient = self._flat.gradient()
        if self._decay:
            gradient += self._decay * self._due
        try:
            self._due = self._points.send(gradient)
            self._flat.load(self._due)
        except StopIteration:
            self._begin()

    @contextmanager
    def center(self) -> Iterator[None]:
        """A block in which the model stands at the center as it was at the end of the last round.

        A sequential method has no center: then it is its iterate.
        """
        own = [buffer.clone() for buffer in self._buffers]
        if self._average:
            for buffer in self._buffers:
                buffer.copy_(self._group.sum(buffer) / self._group.size)
        try:
            with self._standing_at(self._iterate()):
                yield
        finally:
            for buffer, values in zip(self._buffers, own, strict=True):
                buffer.copy_(values)

    @contextmanager
    def worker(self) -> Iterator[None]:
        """A block in which the model stands at this worker's x as it was at the end of the last round."""
        with self._standing_at(self._state[0].x):
            yield

    def state_dict(self) -> dict[str, Tensor]:
        """The variables of this worker and of the center, and the clock, at the end of the last round.

        Steps of a visit that is in progress are not in it: save where the number of steps is a multiple of tau.
        """
        names = _names(self._member)
        values = (*self._state[0], *self._state[1])
        return {"clock": torch.tensor(self._member.clock)} | {
            name: value.clone() for name, value in zip(names, values, strict=True)
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state_dict` returned; every process loads its own.

        Raises
        ------
        ValueError
            If it is the state of another algorithm or model.
        """
        member, names = self._member, _names(self._member)
        if set(state) != {"clock", *names}:
            raise ValueError(f"state must hold {', '.join(('clock', *names))}, got {', '.join(state) or 'nothing'}")
        like = member.worker[0]
        wrong = next((name for name in names if state[name].shape != like.shape), None)
        if wrong is not None:
            shapes = f"{tuple(like.shape)}, got {tuple(state[wrong].shape)}"
            raise ValueError(f"state must be of this model: {wrong} must have the shape {shapes}")
        values = [state[name].to(like, copy=True) for name in names]
        count = len(member.worker)
        worker, center = member.rule.Worker(*values[:count]), member.rule.Center(*values[count:])
        member.restore(int(state["clock"]), dict.fromkeys(member.mine, worker), center)
        self._begin()

    def _begin(self) -> None:
        """Begin a round: some algorithms exchange first, and pull the point where the gradient is due."""
        self._state = (self._member.worker, self._member.center)
        self._points = self._member.points()
        self._due = next(self._points)
        self._flat.load(self._due)

    def _iterate(self) -> Tensor:
        worker, center = self._state
        iterate: Tensor = (center or worker).x
        return iterate

    @contextmanager
    def _standing_at(self, point: Tensor) -> Iterator[None]:
        self._flat.load(point)
        try:
            yield
        finally:
            self._flat.load(self._due)


def _names(member: Member) -> tuple[str, ...]:
    return (*(f"worker.{name}" for name in member.rule.worker), *(f"center.{name}" for name in member.rule.center))
