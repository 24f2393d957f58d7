"""Checkpoints: complete or not there, in files that hold numbers and no code.

A checkpoint is a directory ``step_N`` with a file for each worker, one for the center, and ``state.json`` with what was
trained, its clocks and the digests of the others. It is written under another name and renamed when all of it is on the
disk; of the finished ones the last two are kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from easgd_theory.files import finite
from gpu_trainer.group import Group
from gpu_trainer.result import Failure

KEPT = 2
_FORMAT = "easgd checkpoint"
_VERSION = 1
_STATE = "state.json"
_FREE = ("steps", "data_dir")  # a run may be made longer, and its data may have moved

Named = Mapping[str, Tensor]


class Checkpoints:
    """The checkpoints of a run.

    Parameters
    ----------
    folder : Path
        Every process must see it: with several machines it lies on a file system that they share.
    group : Group
        Who writes them together.
    """

    def __init__(self, folder: Path, group: Group) -> None:
        self.folder, self.group = folder, group

    def save(self, step: int, files: Mapping[str, Named], center: Named, state: Mapping[str, Any]) -> None:
        """Write a checkpoint; every process gives the `files` of its workers, and all the same rest."""
        unfinished = self.folder / f".step_{step}"
        if self.group.rank == 0:
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
        self.group.meet()
        for name, tensors in files.items():
            _write(unfinished / name, tensors)
        self.group.meet()
        if self.group.rank == 0:
            _write(unfinished / "center", center)
            digests = {path.name: _digest(path) for path in sorted(unfinished.iterdir())}
            record = finite({"step": step, "files": digests, **state})
            path = unfinished / _STATE
            about = {"format": _FORMAT, "version": _VERSION, "digest": _digest_of(record)}
            path.write_text(json.dumps(about | {"state": record}, indent=2))
            _to_disk(path)
            _to_disk(unfinished)
            finished = self.folder / f"step_{step}"
            shutil.rmtree(finished, ignore_errors=True)
            unfinished.rename(finished)
            _to_disk(self.folder)
            self._prune()

    def newest(self) -> Path | None:
        """The last complete one that the first process sees, for all processes; None if there is none."""
        mine = max(map(_step, self._finished()), default=-1)
        step = int(self.group.table([mine])[0, 0])
        return self.folder / f"step_{step}" if step >= 0 else None

    def state(self, path: Path, config: Mapping[str, Any]) -> dict[str, Any]:
        """What a checkpoint says of itself.

        Raises
        ------
        Failure
            If it is none of ours, damaged, or of a run with another `config`.
        """
        try:
            record = json.loads((path / _STATE).read_text())
            state: dict[str, Any] = record["state"]
            if (record["format"], record["version"], record["digest"]) != (_FORMAT, _VERSION, _digest_of(state)):
                raise ValueError
            then = state["config"]
            now = json.loads(json.dumps(finite(config)))
        except (OSError, ValueError, KeyError, TypeError):
            raise Failure(f"{path} is not a checkpoint of this program: {_STATE} is not as it writes it") from None
        other = next((name for name in now if name not in _FREE and then.get(name) != now[name]), None)
        if other is not None:
            raise Failure(f"{path} is of another run: {other} was {then.get(other)} there and is {now[other]} here")
        return state

    def load(self, path: Path, state: Mapping[str, Any], name: str) -> dict[str, Tensor]:
        """One file of a checkpoint; raises Failure where it is not what was written."""
        file = path / _named(name)
        try:
            if _digest(file) != state["files"][file.name]:
                raise ValueError
            return load_file(file)
        except (OSError, ValueError, KeyError, SafetensorError):
            raise Failure(
                f"the checkpoint {path} is damaged: {file.name} is not what was written; if that directory is removed, "
                "the run goes on from the one before"
            ) from None

    def _finished(self) -> list[Path]:
        return [path for path in self.folder.glob("step_*") if re.fullmatch(r"step_\d+", path.name)]

    def _prune(self) -> None:
        for path in sorted(self._finished(), key=_step)[:-KEPT]:
            shutil.rmtree(path, ignore_errors=True)
        for path in self.folder.glob(".step_*"):  # of a process that was killed
            shutil.rmtree(path, ignore_errors=True)


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step_"))


def _named(name: str) -> str:
    return f"{name}.safetensors"


def _write(path: Path, tensors: Named) -> None:
    file = path.with_name(_named(path.name))
    save_file({name: values.detach().cpu().clone().contiguous() for name, values in tensors.items()}, file)
    _to_disk(file)


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _digest_of(record: Mapping[str, Any]) -> str:
    text = json.dumps(record, sort_keys=True)
    return hashlib.blake2b(text.encode()).hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()
