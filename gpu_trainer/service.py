"""The center at work: a thread for each worker's session, served in order of arrival."""

from __future__ import annotations

import threading
from typing import Any

from gpu_trainer.center import Center, Errand, Verdict
from gpu_trainer.sessions import Door, Place, SessionLost

_LOOK = 0.02  # seconds from one look at the door to the next


class Service:
    """Serve a center's workers, in threads, for as long as the block lasts.

    Parameters
    ----------
    center : Center
    place : Place

    Attributes
    ----------
    losses : list of dict
        For each time that a worker was lost: ``worker``, ``session``, ``reason``.

    Notes
    -----
    All that a center's process does::

        with Service(center, place) as service:
            while not service.wait(1.0):
                look_at(center.snapshot())
                keep(center.state())
    """

    def __init__(self, center: Center, place: Place) -> None:
        self.center, self._place = center, place
        self.losses: list[dict[str, Any]] = []
        start = center.snapshot().center.x
        self._device, self._like = start.device, start.cpu()
        self._door = Door(place, center.last_incarnation)
        self._over, self._failure = threading.Event(), list[Exception]()
        self._watching = threading.Thread(target=self._watch, name="door", daemon=True)

    def __enter__(self) -> Service:
        self._watching.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._watching.join()

    def wait(self, seconds: float) -> bool:
        """Wait so long; returns whether the run is over: every worker has left, or was lost and did not come back.

        Raises
        ------
        Exception
            What went wrong in a thread, other than that a worker was lost.
        """
        over = self._over.wait(seconds)
        if self._failure:
            raise self._failure[0]
        return over

    def _watch(self) -> None:
        try:
            while not self._over.wait(_LOOK):
                for number, card in self._door.cards():
                    self._admit(number, card)
                if self.center.roll.finished(self._place.silence, self._place.absence):
                    self.center.end()
                    self._door.close()
                    self._over.set()
        except Exception as error:
            self._fail(error)

    def _admit(self, number: int, card: dict[str, Any]) -> None:
        worker = card.pop("worker", None)
        own = self.center.card
        wrong = next((name for name in own if card.get(name) != own[name]), None)
        if wrong is not None:
            self._door.refuse(number, f"{wrong} must be that of the center, {own[wrong]}, got {card.get(wrong)}")
        elif not isinstance(worker, int) or not 0 <= worker < self.center.p:
            self._door.refuse(number, f"worker must be at least 0 and below p={self.center.p}, got {worker}")
        else:
            threading.Thread(target=self._serve, args=(worker, number), name=f"worker {worker}", daemon=True).start()

    def _serve(self, worker: int, number: int) -> None:
        """A session, to its end."""
        center, luggage, roll, errand = self.center, self.center.luggage, self.center.roll, Errand.BEGIN
        try:
            session = self._door.welcome(number)
            while errand is not Errand.LEAVE:
                header, carried = session.receive(len(luggage.worker) + luggage.gradients, self._like)
                errand, (incarnation, clock) = Errand(header[0]), header[1:]
                reply = center.serve(errand, worker, incarnation, clock, [each.to(self._device) for each in carried])
                if reply.verdict is not Verdict.REPLACED:
                    roll.arrive(worker, incarnation, number)
                    if errand is Errand.LEAVE or reply.verdict is Verdict.OVER:
                        roll.leave(worker, number)
                values = [getattr(reply.center, name).cpu() for name in luggage.center]
                session.send((reply.verdict, incarnation, reply.clock), values)
        except SessionLost as error:
            if roll.lose(worker, number):
                self.losses.append({"worker": worker, "session": number, "reason": str(error)})
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._failure.append(error)
        self._over.set()
