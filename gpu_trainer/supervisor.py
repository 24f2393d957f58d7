"""The processes of an asynchronous run, started and looked after: a lost worker costs its own steps only."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from torch import multiprocessing

from gpu_trainer.asynchronous import CenterRun, work
from gpu_trainer.job import Job
from gpu_trainer.launch import Launched, Processes, launched, said, say
from gpu_trainer.parent import end_with_parent
from gpu_trainer.records import Keep, Tell
from gpu_trainer.result import Failure, Result
from gpu_trainer.sessions import Place, hosted_store

_PAUSE = 0.05  # seconds from one look at the processes to the next


def supervise(job: Job, keep: Keep, predict: bool, device: str, tell: Tell | None, how: Processes) -> Result:
    """Run the center and the workers of an asynchronous job, each in a process of its own on this machine.

    A center that dies is started again from its last checkpoint; a worker that dies is replaced if that was asked for.

    Raises
    ------
    Failure, ValueError
        As for `gpu_trainer.launch.start_processes`.
    """
    assert keep.directory is not None
    with tempfile.TemporaryDirectory(prefix="easgd-") as meeting, hosted_store() as port:
        place = Place(port=port, silence=how.silence)
        if how.replace:  # a replacement takes its time to begin
            place = replace(place, absence=how.silence)
        processes = _Processes(job, keep, device, tell, how, place, Path(meeting))
        try:
            with _interrupted_by(signal.SIGTERM):
                processes.run(predict)
        finally:
            processes.stop()
    return Result.read(keep.directory)


@contextmanager
def _interrupted_by(number: signal.Signals) -> Iterator[None]:
    """A block that this signal ends as Ctrl-C does, where signals come: in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(number, interrupt)
    try:
        yield
    finally:
        signal.signal(number, before)


class _Processes:
    def __init__(
        self, job: Job, keep: Keep, device: str, tell: Tell | None, how: Processes, place: Place, meeting: Path
    ) -> None:
        self._job, self._keep, self._tell, self._how = job, keep, tell, how
        self._place, self._meeting, self._device = place, meeting, device
        fork = how.fork and launched().device(device).type == "cpu"
        self._context: Any = multiprocessing.get_context("fork" if fork else "spawn")
        self._workers: dict[int, BaseProcess] = {}
        self._known: dict[int, int] = {}  # by worker, how often the center had been restarted when it began
        self._latest: BaseProcess | None = None
        self._restarts = self._replaced = 0

    def run(self, predict: bool) -> None:
        center = self._center(predict)
        for number in range(self._job.workers):
            self._workers[number] = self._worker(number)
        while center.exitcode != 0:
            time.sleep(_PAUSE)
            if error := said(self._meeting):
                raise error
            if center.exitcode:
                if self._restarts == self._how.max_restarts:
                    raise Failure(f"the center ended with code {center.exitcode} after {self._restarts} restarts")
                self._restarts += 1
                center = self._center(predict)
            for number, process in self._workers.items():
                killed = process.exitcode is not None and process.exitcode < 0
                if killed and self._how.replace and self._replaced < self._how.max_restarts:
                    self._replaced += 1
                    self._workers[number] = self._worker(number)
                elif process.exitcode == 0 and self._known[number] < self._restarts:
                    self._workers[number] = self._worker(number)  # this center may have forgotten some of what it did

    def stop(self) -> None:
        for process in (*self._workers.values(), *([self._latest] if self._latest else [])):
            process.join(_PAUSE if process.exitcode is None else None)
            process.kill()
            process.join()

    def _center(self, predict: bool) -> BaseProcess:
        resumes = self._keep.resume or self._restarts > 0
        self._latest = self._start(_serve, resumes, predict, self._tell, self._restarts)
        return self._latest

    def _worker(self, number: int) -> BaseProcess:
        self._known[number] = self._restarts
        return self._start(_work, number)

    def _start(self, body: Any, *more: Any) -> BaseProcess:
        arguments = (self._job, self._keep, self._device, self._place, self._meeting, *more)
        process: BaseProcess = self._context.Process(target=_guarded, args=(body, *arguments), daemon=True)
        process.start()
        return process


def _guarded(body: Any, job: Job, keep: Keep, device: str, place: Place, meeting: Path, *more: Any) -> None:
    """In a process: what cannot be done is said once, and not tried again."""
    end_with_parent()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // job.workers))
    try:
        body(job, keep, device, place, *more)
    except KeyboardInterrupt:
        os._exit(130)
    except Exception as error:
        say(meeting, error)
        raise SystemExit(1) from None


def _serve(
    job: Job, keep: Keep, device: str, place: Place, resumes: bool, predict: bool, tell: Tell | None, restarts: int
) -> None:
    keep = Keep(**{**vars(keep), "resume": resumes})
    CenterRun(job, keep, launched().take(device), tell, restarts).run(place, predict)


def _work(job: Job, keep: Keep, device: str, place: Place, number: int) -> None:
    work(job, keep, Launched(number, number, job.workers, 0).take(device), number, place)
