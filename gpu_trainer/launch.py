"""Processes for the workers, started by torch's elastic launcher; and what a process knows of how it was started."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from easgd_theory.files import atomic
from gpu_trainer.group import ProcessLost, others
from gpu_trainer.result import Failure

Work = Callable[..., Any]
"""What each process does; picklable, as are its arguments and what it returns."""

_FAILURE = "failure.txt"
_PATIENCE = 20.0  # seconds
_SENTENCES = (Failure, TypeError, ValueError, OSError)  # errors that say what is wrong
_TALKATIVE = ("torch.distributed.elastic", "torch.distributed.launcher", "torch.multiprocessing.spawn")


@dataclass(frozen=True, kw_only=True)
class Processes:
    """How the processes of the workers are started.

    Attributes
    ----------
    max_restarts : int
        How often all of them are started anew, from the last checkpoint, after one was lost. Of an asynchronous run:
        how often the center is.
    replace : bool
        Of an asynchronous run: start another process for a worker that was lost, which begins at the center; up to
        `max_restarts` times.
    silence : float
        Of an asynchronous run: seconds without an answer after which a worker that hangs is lost. So long, too, a
        worker waits for the center at the start, which measures the training set once before it serves.
    fork : bool
        On the CPU, begin as copies of this process, which takes a tenth of a second in place of several: only where
        this process has not computed with torch before.
    """

    max_restarts: int = 3
    replace: bool = False
    silence: float = 300.0
    fork: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.silence < float("inf"):
            raise ValueError(f"silence must be a positive number of seconds, got {self.silence!r}")


@dataclass(frozen=True)
class Launched:
    """How torch's launcher started this process; alone if it did not."""

    rank: int
    local_rank: int
    local_size: int
    restarts: int

    def device(self, name: str) -> torch.device:
        """The device of this process, of those of that kind; ``auto`` is CUDA where there is one."""
        kind = ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
        if kind == "cpu":
            return torch.device("cpu")
        if kind != "cuda":
            raise ValueError(f"device must be auto, cpu or cuda, got {name!r}")
        if not torch.cuda.is_available():
            raise ValueError("device must be auto or cpu where torch finds no CUDA, got 'cuda'")
        return torch.device("cuda", self.local_rank % torch.cuda.device_count())

    def take(self, name: str) -> torch.device:
        """Make `device` the one that this process uses, and return it."""
        device = self.device(name)
        if device.type == "cuda":
            torch.cuda.set_device(device)
        return device

    def backend(self, name: str) -> str:
        """NCCL where each process has a GPU of its own, else gloo."""
        own = self.device(name).type == "cuda" and self.local_size <= torch.cuda.device_count()
        return "nccl" if own else "gloo"


def launched() -> Launched:
    """How this process was started."""
    names = {"RANK": 0, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1, "TORCHELASTIC_RESTART_COUNT": 0}
    return Launched(*(int(os.environ.get(name, alone)) for name, alone in names.items()))


def start_processes(how: Processes, count: int, work: Work, arguments: tuple[Any, ...]) -> Any:
    """Let `count` processes do `work`, and return what the first one returns.

    Everything stays on this machine: they meet through a file, and talk over loopback. Where torch's launcher has
    started this process already (``torchrun``), this is one of them, and they meet where it says.

    Parameters
    ----------
    how : Processes
    count : int
    work : callable
        Called with the `arguments` in each process, once `torch.distributed` is initialized. Its fourth argument names
        the device.
    arguments : tuple

    Raises
    ------
    Failure
        If it was not done after all restarts, or a process said why it cannot be done.
    ValueError
        If a process found a bad value.
    """
    if dist.is_torchelastic_launched():
        return _work(None, work, arguments, count)
    for name in logging.root.manager.loggerDict:
        if name.startswith(_TALKATIVE):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # what is to be said, the run says itself
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # the launcher's own would listen on all interfaces
    with tempfile.TemporaryDirectory(prefix="easgd-") as meeting:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=count,
            run_id=uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint=str(Path(meeting, "launcher")),
            rdzv_configs={"store_type": "file"},
            local_addr="127.0.0.1",
            max_restarts=how.max_restarts,
            start_method="fork" if how.fork and launched().device(arguments[3]).type == "cpu" else "spawn",
        )
        try:
            returned = elastic_launch(config, _work)(Path(meeting), work, arguments, count)[0]
        except ChildFailedError as error:
            returned = said(Path(meeting)) or Failure(_first(error, how.max_restarts))
        except SignalException as signal:
            raise KeyboardInterrupt from signal
    if isinstance(returned, Failure | ValueError):
        raise returned
    return returned


def _first(error: ChildFailedError, restarts: int) -> str:
    """Which process ended a run, and how."""
    rank, failure = error.get_first_failure()
    how = f"ended with code {failure.exitcode}" if failure.exitcode >= 0 else f"was ended by {failure.signal_name()}"
    return f"the process of worker {rank} {how} after {restarts} restarts"


def say(meeting: Path, error: Exception) -> None:
    """Leave word why it cannot be done."""
    kind = "bad" if isinstance(error, TypeError | ValueError) else "failed"
    sentence = str(error) if isinstance(error, _SENTENCES) else f"{type(error).__name__}: {error}"
    with atomic(meeting / _FAILURE) as path:
        path.write_text(f"{kind} {sentence}")


def said(meeting: Path) -> Exception | None:
    """Why it cannot be done, if a process has said so: a bad value, or a failure."""
    path = meeting / _FAILURE
    if not path.exists():
        return None
    kind, _, sentence = path.read_text().partition(" ")
    return ValueError(sentence) if kind == "bad" else Failure(sentence)


def _work(meeting: Path | None, work: Work, arguments: tuple[Any, ...], count: int) -> Any:
    """In a process: meet the others, and work. What cannot be done is said once, and not tried again."""
    if meeting is not None and (failure := said(meeting)):
        return failure
    how = launched()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // how.local_size))
    try:
        how.take(arguments[3])
        _meet(meeting, how.backend(arguments[3]), how.restarts, count)
        return work(*arguments)
    except SignalException:  # the launcher's: it ends all processes where one is lost
        raise
    except ProcessLost:
        time.sleep(_PATIENCE)  # so that the launcher sees the lost one first; it does not let this one wait for long
        raise
    except Exception as error:
        if meeting is not None:
            say(meeting, error)
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _meet(meeting: Path | None, backend: str, attempt: int, count: int) -> None:
    """Initialize `torch.distributed`; each attempt has a prefix of its own, for the last one's addresses are stale."""
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if size != count:
        raise ValueError(f"the number of workers must be that of the processes, {size}, got {count}")
    if meeting is None:
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        shared = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        store: dist.Store = dist.TCPStore(address, port, size, is_master=rank == 0 and not shared)
    else:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
        store = dist.FileStore(str(meeting / "store"), size)
    store = dist.PrefixStore(f"attempt_{attempt}", store)
    with others():
        dist.init_process_group(backend, store=store, rank=rank, world_size=size)
