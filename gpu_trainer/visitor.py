"""One worker of an asynchronous run, in a process of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from itertools import count
from typing import Any

import torch
from torch import Tensor

from easgd_theory.algorithm import Algorithm
from easgd_theory.schedules import Asynchronous
from easgd_theory.visit import Point, Pull, Visit, first_point
from gpu_trainer.center import Errand, Verdict, checked_visits, visiting_card
from gpu_trainer.party import GradientOf, beginning, steps_from
from gpu_trainer.sessions import Place, RunOver, Session, SessionLost

_Answer = tuple[Verdict, int, list[Tensor]]


class Visitor:
    """One worker, that visits a center in another process.

    Where the first gradient of a visit does not depend on the center (EASGD, EAMSGD) it is taken while the exchange is
    on its way; that changes nothing of the algorithm. A session that breaks is made again, and the visit repeated: the
    center knows whether it has had its message.

    Parameters
    ----------
    algorithm, schedule
        As the center has them.
    number : int
        Which worker this is, from 0 on. A process that takes the place of a lost one has its number.
    place : Place
        Where the center is.
    like : Tensor, shape (n,)
        Its dtype and device are those of all variables.

    Attributes
    ----------
    worker : named tuple of Tensor, shape (n,)
        Its variables. No tensor is ever changed in place.
    clock : int
        Gradient steps made; those of its predecessors, too, and of visits that were void.
    restarts : int
        How often it began at the center's x again, because the center refused its message or it was not known what had
        become of it.
    communicated, waited : float
        Seconds that exchanges took, and how many of these the worker had nothing else to do.

    Raises
    ------
    RunOver
        If there is no center, or no part to do any more.
    ValueError
        If the center has another algorithm, model or schedule.
    """

    def __init__(self, algorithm: Algorithm, schedule: Asynchronous, number: int, place: Place, like: Tensor) -> None:
        self.rule, self._k, self._luggage = checked_visits(algorithm, schedule)
        self.number, self.tau = number, schedule.tau
        self._place, self._like = place, like
        self._card = {"worker": number, **visiting_card(algorithm, schedule, like)}
        self._session: Session | None = None
        self._incarnation, self._over = 0, False
        self.worker: Any = None
        self.communicated = self.waited = 0.0
        self.restarts, self.clock = 0, 0
        self._begin(self._wait(self._ask(Errand.BEGIN, self._blank())))
        if self._over:
            raise RunOver("the run is over")

    def __enter__(self) -> Visitor:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is None and not self._over:
            with suppress(RunOver):  # its part is done, with or without a goodbye
                self._wait(self._ask(Errand.LEAVE, self._blank()))
        self._session = None

    def round(self, gradient: GradientOf) -> bool:
        """One visit with its tau steps.

        A visit whose message the center refuses is void: the worker begins at the center's x, its clock moved on.

        Parameters
        ----------
        gradient : callable
            Called with `number`, the clock and a point of shape (n,).

        Returns
        -------
        bool
            False if the run is over and nothing was done.
        """
        visit = Visit(self.rule, steps_from(self._k, self.clock), self.tau, self.worker)
        clocks = count(self.clock)

        def taken(point: Tensor) -> Tensor:
            return gradient(self.number, next(clocks), point)

        carried = [getattr(self.worker, name) for name in self._luggage.worker]
        while isinstance(visit.request, Point):
            carried.append(taken(visit.request.value))
            visit.answer(carried[-1])
        asked = self._ask(Errand.VISIT, carried)
        point = None if self._luggage.gradients else first_point(self.rule, self._k(self.clock), self.worker)
        ready = [] if point is None else [taken(point)]  # while the exchange is on its way
        if ready and ready[0].is_cuda:  # else what it takes would count as waiting
            torch.cuda.synchronize(ready[0].device)
        answer = self._wait(asked)
        if answer[0] is not Verdict.DONE:
            self._begin(answer)
            self.restarts += not self._over
            return not self._over
        center = self._center(answer[2])
        while visit.request is not None:
            if isinstance(visit.request, Point | Pull):
                visit.proceed(center, lambda point: ready.pop() if ready else taken(point))
            else:  # the push, which has taken place
                visit.answer()
        self.worker, self.clock = visit.worker, self.clock + self.tau
        return True

    def _ask(self, errand: Errand, carried: Sequence[Tensor]) -> Future[_Answer]:
        """Go to the center, in a thread."""
        answer: Future[_Answer] = Future()
        tensors = [each.cpu() for each in carried]
        # A daemon: an interrupted worker does not wait for a center that does not answer.
        threading.Thread(target=self._exchange, args=(errand, tensors, answer), name="exchange", daemon=True).start()
        return answer

    def _exchange(self, errand: Errand, tensors: Sequence[Tensor], answer: Future[_Answer]) -> None:
        began = time.perf_counter()
        try:
            result = self._asked(errand, tensors)
            self.communicated += time.perf_counter() - began
            answer.set_result(result)
        except Exception as error:
            answer.set_exception(error)

    def _asked(self, errand: Errand, tensors: Sequence[Tensor]) -> _Answer:
        """The center's answer, in as many sessions as it takes."""
        while True:
            try:
                if self._session is None:
                    session, self._session = self._place.join(self._card)
                    self._incarnation = self._incarnation or session
                header = (errand, self._incarnation, self.clock)
                reply, values = self._session.ask(header, tensors, len(self._luggage.center))
                return Verdict(reply[0]), reply[2], values
            except SessionLost:
                self._session = None

    def _wait(self, asked: Future[_Answer]) -> _Answer:
        began = time.perf_counter()
        answer = asked.result()
        self.waited += time.perf_counter() - began
        return answer

    def _begin(self, answer: _Answer) -> None:
        """Begin where the center says; or not at all."""
        verdict, clock, values = answer
        if verdict is Verdict.REPLACED:
            raise RunOver(f"another process does the part of worker {self.number}")
        self._over = verdict is Verdict.OVER
        if not self._over:
            self.worker, self.clock = beginning(self.rule, self._center(values).x)[0], clock

    def _center(self, values: Sequence[Tensor]) -> Any:
        """The center's variables, as far as they came."""
        known = {name: value.to(self._like) for name, value in zip(self._luggage.center, values, strict=True)}
        return self.rule.Center(**dict.fromkeys(self.rule.center) | known)

    def _blank(self) -> list[Tensor]:
        """What is carried on an errand that needs nothing: all messages have one size."""
        return [torch.zeros_like(self._like)] * (len(self._luggage.worker) + self._luggage.gradients)
