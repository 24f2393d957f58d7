"""Sweeps into a CSV: complete lines, killed and resumed, and a table of something else is refused."""

import csv
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial

import pytest

from gpu_trainer.sweeps import sweep


@dataclass(frozen=True)
class Number:
    """A case of a sweep that has nothing to do with networks."""

    value: int

    def columns(self):
        return {"value": self.value}


def square(case):
    return {"square": case.value**2, "comment": f"{case.value}, squared"}


def noted_square(folder, case):
    """Leaves a file for each time that it is called."""
    time.sleep(0.02)
    (folder / f"{case.value}-{time.monotonic_ns()}").touch()
    return square(case)


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


NUMBERS = [Number(value) for value in range(5)]


@pytest.mark.parametrize("processes", [1, 2])
def test_every_case_has_its_row(tmp_path, processes):
    seen = []
    sweep(
        tmp_path / "a.csv",
        {"setup": "x, y"},
        NUMBERS,
        square,
        processes=processes,
        progress=lambda done, total, row: seen.append((done, total, row["value"])),
    )
    rows = sorted(read(tmp_path / "a.csv"), key=lambda row: int(row["value"]))
    assert rows == [
        {"setup": "x, y", "value": str(v), "square": str(v * v), "comment": f"{v}, squared"} for v in range(5)
    ]
    assert [(done, total) for done, total, _ in seen] == [(i, 5) for i in range(1, 6)]
    assert {value for _, _, value in seen} == set(range(5))


@pytest.mark.parametrize(("cut", "lost"), [(1, [4]), (7, [4]), (30, [3, 4])])
def test_half_a_line_is_done_again(tmp_path, cut, lost):
    path = tmp_path / "a.csv"
    sweep(path, {"setup": 1}, NUMBERS, square, processes=1)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    calls = []
    sweep(path, {"setup": 1}, NUMBERS, lambda case: calls.append(case.value) or square(case), processes=1)
    assert path.read_bytes() == whole
    assert calls == lost


def test_a_table_of_something_else_is_refused(tmp_path, refused):
    path = tmp_path / "a.csv"
    sweep(path, {"setup": 1}, NUMBERS, square, processes=1)
    before = path.read_bytes()
    again = partial(sweep, path, work=square, processes=1)
    refused(lambda: again({"setup": 2}, NUMBERS), "a.csv", "its setup is 1, not 2", "another directory")
    refused(lambda: again({"other": 1}, NUMBERS), "its other is not given, not 1")
    refused(lambda: again({"setup": 1}, NUMBERS[:-1]), "a case that is not asked for, value=4")
    refused(lambda: sweep(path, {"setup": 1}, NUMBERS, square, processes=0), "processes", "at least 1", "0")
    assert path.read_bytes() == before


KILLED = """
import sys
from functools import partial
from pathlib import Path
sys.path.insert(0, {tests!r})
from gpu_trainer.sweeps import sweep
from test_validate_sweeps import Number, noted_square
if __name__ == "__main__":
    folder = Path({folder!r})
    cases = [Number(value) for value in range(1000)]
    sweep(folder / "a.csv", {{"setup": 1}}, cases, partial(noted_square, folder / "calls"), processes={processes})
"""


def wait_for(condition):
    """Until it holds; a minute at most, for a machine that is busy."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("processes", [1, 2])
def test_after_kill_9_what_is_done_is_not_done_again(tmp_path, processes):
    path, calls = tmp_path / "a.csv", tmp_path / "calls"
    calls.mkdir()
    script = tmp_path / "script.py"
    folder = str(tmp_path)
    script.write_text(KILLED.format(tests=os.path.dirname(__file__), folder=folder, processes=processes))
    with subprocess.Popen([sys.executable, script], stderr=subprocess.PIPE) as run:
        wait_for(lambda: (path.exists() and path.read_bytes().count(b"\n") > 4) or run.poll() is not None)
        run.send_signal(signal.SIGKILL)
        run.stderr.read()  # ends only when the workers have ended, too: they share it
    done = {int(line.split(b",")[1]) for line in path.read_bytes().split(b"\n")[1:-1]}
    assert 4 <= len(done) < 1000
    before = {each.name for each in calls.iterdir()}
    last = max(done) + 5
    sweep(path, {"setup": 1}, [Number(v) for v in range(last)], partial(noted_square, calls), processes=1)
    again = {int(each.name.split("-")[0]) for each in calls.iterdir() if each.name not in before}
    assert again == set(range(last)) - done
    assert sorted(int(row["value"]) for row in read(path)) == list(range(last))
