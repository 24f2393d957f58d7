"""`easgd map --data out.zarr`: written tile by tile, continued after a kill, and never at another map's expense."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner, Result

import easgd_cli.progress
from easgd_cli import map as map_command
from easgd_cli import store
from easgd_cli.main import cli
from easgd_theory import EASGD, RoundRobin, Synchronous, stability_map

MAP = "map easgd --p 8 --schedule synchronous --x eta:0.1:2:192 --y alpha:0.01:0.4:160"  # 5 x 6 tiles
SMALL = "map easgd --p 3 --x eta:0.1:2:70 --y alpha:0.1:1:40"  # 2 x 3 tiles
TILES = 30
VARIABLES = ("spectral_radius", "stable", "certified", "done")


def easgd(line: str) -> Result:
    return CliRunner().invoke(cli, line.split())


def written(line: str) -> Result:
    result = easgd(line)
    assert result.exit_code == 0, result.stderr
    return result


def content(path: Path) -> dict[Path, bytes]:
    """Every file, to the last bit."""
    return {file.relative_to(path): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def files_of(path: Path, name: str) -> dict[Path, tuple[int, int]]:
    """The tiles of a variable that are on disk, and what tells a file from a rewritten one."""
    files = (path / name / "c").glob("*/[0-9]*")
    return {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in files if file.suffix != ".partial"}


def finished(path: Path) -> set[Path]:
    return {file.relative_to(path / "done") for file in files_of(path, "done")}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    path = tmp_path_factory.mktemp("uninterrupted") / "map.zarr"
    written(f"{MAP} --data {path}")
    return content(path)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp("small") / "map.zarr"
    written(f"{SMALL} --data {path}")
    return path


# Writing


def test_the_store_is_the_map(small, tmp_path):
    expected = stability_map(EASGD(eta=np.linspace(0.1, 2, 70), alpha=np.linspace(0.1, 1, 40)), RoundRobin(p=3))
    with xr.open_zarr(small, chunks=None) as found:
        assert found.spectral_radius.dims == ("alpha", "eta")
        assert found.done.values.all()
        xr.testing.assert_equal(found[list(expected)].load(), expected.transpose("alpha", "eta"))
        assert expected.attrs.items() <= found.attrs.items()
        assert found.spectral_radius.attrs["long_name"] == expected.spectral_radius.attrs["long_name"]
        assert found.spectral_radius.encoding["chunks"] == (32, 32)
    assert [path.name for path in small.parent.iterdir()] == ["map.zarr"]


def test_the_summary_is_that_of_a_map_in_memory(small, tmp_path):
    stored, memory = (
        json.loads(written(f"{SMALL} --json {where}").stdout) for where in (f"--data {small}", f"-o {tmp_path}/map.png")
    )
    for name in memory.keys() - {"seconds", "picture", "data"}:
        assert stored[name] == memory[name]
    assert stored["data"] == str(small)


@pytest.mark.parametrize(
    ("shape", "tile"),
    [
        ((2, 2), (2, 2)),
        ((40, 40), (32, 32)),
        ((1024, 1024), (64, 64)),
        ((2, 2**20), (2, 2048)),
        ((2**20, 2), (2048, 2)),
        ((2**16, 2**16), (512, 512)),
        ((2**24, 2**8), (1024, 256)),
    ],
)
def test_tiles_are_a_small_part_of_the_map_and_of_memory(shape, tile):
    assert store.tile_shape(*shape) == tile


def test_a_store_may_be_larger_than_a_map_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(map_command, "LARGEST_GRID", 100)
    assert "up to 100 points" in easgd(f"{SMALL} --data {tmp_path}/map.nc").stderr
    written(f"{SMALL} --data {tmp_path}/map.zarr")
    monkeypatch.setattr(map_command, "LARGEST_STORE", 1000)
    assert "1000 where --data ends in .zarr, got 70 x 40" in easgd(f"{SMALL} --data {tmp_path}/map.zarr").stderr


def test_a_picture_shows_no_more_points_than_it_has_pixels(small, monkeypatch):
    monkeypatch.setattr(map_command, "_MOST_PIXELS", 50)
    with xr.open_zarr(small, chunks=None) as whole:
        shown = map_command._as_pixels(whole)
        assert dict(shown.sizes) == {"alpha": 40, "eta": 50}
        np.testing.assert_array_equal(shown.eta[[0, -1]], whole.eta[[0, -1]])
        xr.testing.assert_equal(shown, whole.sel(eta=shown.eta))


# Stopping and continuing


SLOWLY = """
import time
from easgd_cli import map as command
from easgd_cli.main import main
block = command.block
def slowly(*arguments):
    time.sleep(0.05)
    return block(*arguments)
command.block = slowly
main()
"""

KILLED_IN_A_TILE = """
import os, signal, zarr
from easgd_cli.main import main
write, tiles = zarr.Array.__setitem__, []
def write_or_die(array, where, values):
    if array.basename == "NAME":
        tiles.append(where)
        if len(tiles) == 4:
            os.kill(os.getpid(), signal.SIGKILL)
    write(array, where, values)
zarr.Array.__setitem__ = write_or_die
main()
"""


@contextmanager
def running(code: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    """The map being computed in a process of its own."""
    command = [sys.executable, "-c", code, *MAP.split(), "--data", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(tiles: int, path: Path, process: subprocess.Popen[str]) -> None:
    while len(finished(path)) < tiles:
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)


def assert_continued(path: Path, uninterrupted: dict[Path, bytes]) -> None:
    """What was finished stays as it is, the rest is computed, and the result is that of a run without a stop."""
    done = finished(path)
    assert 0 < len(done) < TILES
    before = {name: files_of(path, name) for name in VARIABLES}
    for name in VARIABLES:
        assert len(before[name]) <= len(done) + 1  # no more than the tile in flight
    result = written(f"{MAP} --data {path}")
    assert f"holds {len(done)} of {TILES} tiles, continuing" in result.stderr
    for name in VARIABLES:
        after = files_of(path, name)
        for tile in done:
            file = path / name / tile
            assert after[file] == before[name][file]
    assert {name: bits for name, bits in content(path).items() if name.suffix != ".partial"} == uninterrupted


def test_a_killed_map_is_continued(tmp_path, uninterrupted):
    path = tmp_path / "map.zarr"
    with running(SLOWLY, path) as process:
        wait_for(random.randint(1, 12), path, process)
        time.sleep(0.08 * random.random())
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert [entry.name for entry in tmp_path.iterdir()] == ["map.zarr"]
    assert_continued(path, uninterrupted)


@pytest.mark.parametrize("name", ["stable", "done"])
def test_a_tile_that_is_half_written_is_computed_again(name, tmp_path, uninterrupted):
    path = tmp_path / "map.zarr"
    with running(KILLED_IN_A_TILE.replace("NAME", name), path) as process:
        assert process.wait() == -signal.SIGKILL
    assert len(finished(path)) == 3
    assert len(files_of(path, "spectral_radius")) == 4
    assert_continued(path, uninterrupted)


def test_ctrl_c_says_how_to_continue(tmp_path, uninterrupted):
    path = tmp_path / "map.zarr"
    with running(SLOWLY, path) as process:
        wait_for(3, path, process)
        process.send_signal(signal.SIGINT)
        out, error = process.communicate()
    assert (process.returncode, out) == (130, "")
    done = len(finished(path))  # the mark of the last tile may still have been on its way to the disk
    assert error in [
        f"\neasgd: interrupted; {str(path)!r} holds {said} of {TILES} tiles, and the same command continues there\n"
        for said in (done - 1, done)
    ]
    assert_continued(path, uninterrupted)


@pytest.mark.parametrize("where", ["--data FOLDER/map.nc", "--data FOLDER/map.csv", "-o FOLDER/map.png"])
def test_ctrl_c_leaves_no_half_of_a_file(where, tmp_path, monkeypatch):
    calls = []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return block(*arguments)

    block = map_command.block
    monkeypatch.setattr(map_command, "block", interrupted)
    result = easgd(f"{SMALL} {where.replace('FOLDER', str(tmp_path))}")
    assert result.exit_code == 130
    assert result.stderr == "\neasgd: interrupted; files that were not complete have been removed\n"
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_a_finished_store_is_only_drawn(small, tmp_path, monkeypatch):
    monkeypatch.setattr(map_command, "block", lambda *_: pytest.fail("computed"))
    before = content(small)
    result = written(f"{SMALL} --data {small}/ -o {tmp_path}/map.png")
    assert result.stderr == f"easgd: {str(small)!r} holds 6 of 6 tiles, nothing is left to compute\n"
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    assert content(small) == before


def test_the_bar_starts_where_it_stood(tmp_path, monkeypatch):
    bars = []

    @contextmanager
    def recorded(title, total, done=0):
        with progress(title, total, done) as bar:
            bars.append((total, done))
            yield bar

    def stopped(*arguments):
        if bars == [(6, 0)] and len(finished(path)) == 2:
            raise KeyboardInterrupt
        return block(*arguments)

    progress, block, path = easgd_cli.progress.progress, map_command.block, tmp_path / "map.zarr"
    monkeypatch.setattr(easgd_cli.progress, "progress", recorded)
    monkeypatch.setattr(map_command, "block", stopped)
    assert easgd(f"{SMALL} --data {path}").exit_code == 130
    written(f"{SMALL} --data {path}")
    assert bars == [(6, 0), (6, 2)]


# What is not that map


OTHERS = {
    SMALL.replace("easgd", "eamsgd") + " --delta 0.9": "algorithm is EASGD, not EAMSGD",
    SMALL.replace("--p 3", "--p 4"): "p is 3, not 4",
    SMALL + " --tau 2": "tau is 1, not 2",
    SMALL + " --h 2": "h is 1.0, not 2.0",
    SMALL + " --schedule synchronous": "schedule is RoundRobin, not Synchronous",
    SMALL.replace("0.1:2:70", "0.1:2:71"): "the values of eta are others",
    SMALL.replace("0.1:2:70", "0.1:2:70:log"): "the values of eta are others",
    "map easgd --p 3 --y eta:0.1:2:70 --x alpha:0.1:1:40": "dimensions is alpha eta, not eta alpha",
    "map easgd --p 3 --eta 0.1 --x h:0.1:2:70 --y alpha:0.1:1:40": "dimensions is alpha eta, not alpha h",
}


@pytest.mark.parametrize("line", OTHERS)
def test_another_map_is_refused(line, small):
    refused(f"{line} --data {small}", small, "holds another map", OTHERS[line], "give another path")


def refused(line: str, path: Path, *words: str) -> None:
    """One sentence, and nothing is changed."""
    before = content(path)
    result = easgd(line)
    assert result.exit_code == 2, result.stderr
    assert result.stdout == ""
    sentence = result.stderr.splitlines()[-1]
    assert sentence.startswith("easgd: error: --data")
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in sentence
    assert content(path) == before


def edit(path: Path, **attributes: str) -> None:
    record = json.loads((path / "zarr.json").read_text())
    record["attributes"] |= attributes
    (path / "zarr.json").write_text(json.dumps(record))


def flip(file: Path) -> None:
    bits = bytearray(file.read_bytes())
    bits[-6] ^= 1
    file.write_bytes(bits)


SPOILT = {
    "version": (lambda path: edit(path, easgd_version="0.0.1"), "easgd_version is 0.0.1, not"),
    "format": (lambda path: edit(path, format="easgd map 0"), "format is easgd map 0, not"),
    "foreign": (lambda path: edit(path, format="other"), "must be a new path or a map that easgd began"),
    "no_metadata": (lambda path: (path / "zarr.json").unlink(), "must be a new path or a map that easgd began"),
    "half_metadata": (lambda path: os.truncate(path / "zarr.json", 40), "must be a new path or a map"),
    "no_array": (lambda path: shutil.rmtree(path / "stable"), "is damaged"),
    "no_axis": (lambda path: shutil.rmtree(path / "eta"), "is damaged"),
    "half_array": (lambda path: os.truncate(path / "stable" / "zarr.json", 40), "is damaged"),
    "half_axis": (lambda path: os.truncate(path / "eta" / "c" / "0", 20), "is damaged"),
    "half_mask": (lambda path: os.truncate(path / "done" / "c" / "0" / "0", 5), "is damaged"),
    "lost_tile": (lambda path: (path / "spectral_radius" / "c" / "1" / "1").unlink(), "is damaged"),
    "flipped_bit": (lambda path: flip(path / "spectral_radius" / "c" / "1" / "1"), "is damaged"),
}


@pytest.mark.parametrize("spoilt", SPOILT)
def test_a_spoilt_store_is_refused_and_left_alone(spoilt, small, tmp_path):
    path = tmp_path / "map.zarr"
    shutil.copytree(small, path)
    spoil, words = SPOILT[spoilt]
    spoil(path)
    refused(f"{SMALL} --data {path} -o {tmp_path}/map.png", path, words)
    assert not (tmp_path / "map.png").exists()


def test_a_store_of_another_shape_is_damaged(small, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "_SMALLEST", 16)
    refused(f"{SMALL} --data {small}", small, "is damaged", "has another shape")


@pytest.mark.parametrize("kind", ["file", "folder", "zarr"])
def test_what_is_no_store_of_ours_is_refused(kind, tmp_path):
    path = tmp_path / "map.zarr"
    if kind == "file":
        path.write_text("mine")
    elif kind == "folder":
        path.mkdir()
    else:
        stability_map(EASGD(eta=[0.1], alpha=0.1), Synchronous(p=3)).to_zarr(path, consolidated=False)
    refused(f"{SMALL} --data {path}", tmp_path, "must be a new path or a map that easgd began")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (f"{SMALL} --data /nonexistent/map.zarr", "no such file or directory"),
        ("map easgd --p 3 --x eta:0:1:99999 --y alpha:0:1:99999 --data FOLDER/map.zarr", "4294967296 where"),
        ("map easgd --p 3 --x eta:0:1:16777217 --y alpha:0:1:2 --data FOLDER/map.zarr", "up to 16777216 values each"),
    ],
)
def test_a_store_that_cannot_be_is_refused(line, words, tmp_path):
    result = easgd(line.replace("FOLDER", str(tmp_path)))
    assert result.exit_code == 2
    assert words in result.stderr
    assert list(tmp_path.iterdir()) == []
