"""`easgd simulate`: what it says is what the simulator found, what it writes is what was recorded."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager

import numpy as np
import pytest
import xarray as xr
from test_cli import assert_refused, easgd

import easgd_cli.progress
import simulations
from easgd_cli import simulate as command
from easgd_cli.output import new_directory
from easgd_theory import (
    EASGD,
    Asynchronous,
    Deterministic,
    DiLoCo,
    Lognormal,
    RandomOrder,
    RoundRobin,
    Synchronous,
    spectral_radius,
)
from easgd_theory.growth import measured_growth
from simulations import DoubleWell, LinearRegression, Quadratic, Record, simulate

ELASTIC = "simulate easgd --p 3 --eta .1 --alpha .1"
NOISY = f"{ELASTIC} --schedule synchronous --noise 1 --rounds 20 --replicas 5 --seed 7"
EXAMPLE = "simulate admm --p 3 --eta .001 --rho 2.5 --start 1000 --rounds 20000"


def answer(line: str) -> dict:
    result = easgd(f"{line} --json")
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""  # no bar in a pipe
    return json.loads(result.stdout)


def noisy(**record: bool) -> xr.Dataset:
    rule, objective = EASGD(0.1, 0.1), Quadratic(1.0, 1.0)
    return simulate(rule, Synchronous(p=3), objective, rounds=20, replicas=5, seed=7, record=Record(**record))


def test_the_summary_is_of_the_run():
    found, run = answer(f"{NOISY} --loss"), noisy(loss=True)
    assert found["schema_version"] == 1
    about = ("algorithm", "schedule", "p", "tau", "parameters", "objective", "rounds", "replicas", "seed")
    assert [found[name] for name in about] == [
        "EASGD", "synchronous", 3, 1, {"eta": 0.1, "alpha": 0.1}, "Quadratic", 20, 5, 7,
    ]  # fmt: skip
    assert found["objective_parameters"] == {"h": 1.0, "noise": 1.0, "deviation": 0.0}
    assert found["center_mean"] == pytest.approx(run.center[:, -1].mean("replica").values, rel=1e-12)
    assert found["center_variance"] == pytest.approx(run.center[:, -1].values.var(axis=0, ddof=1), rel=1e-12)
    assert found["loss"] == pytest.approx(run.loss[:, -1].mean().item(), rel=1e-12)
    assert (found["diverged"], found["first_diverged_round"]) == (0, None)
    assert found["spectral_radius"] == spectral_radius(EASGD(0.1, 0.1), Synchronous(p=3))
    assert found["measured_growth"] is None  # it is noise by now


def test_statistics_say_the_same():
    one, all_ = answer(f"{NOISY} --loss --statistics"), answer(f"{NOISY} --loss")
    for name in ("center_mean", "center_variance"):
        assert one[name] == pytest.approx(all_[name], rel=1e-12)
    assert one["loss"] == pytest.approx(all_["loss"], rel=1e-12)


def test_the_papers_example_grows_as_predicted():
    found = answer(EXAMPLE)
    assert found["spectral_radius"] == pytest.approx(1.0009738854, abs=1e-10)
    assert found["measured_growth"] == pytest.approx(found["spectral_radius"], abs=1e-12)
    assert found["diverged"] == 0
    assert abs(found["center_mean"][0]) > 1e6


@pytest.mark.parametrize("replicas", [1, 4])
@pytest.mark.parametrize("statistics", ["", "--statistics"])
def test_divergence_is_a_result(replicas, statistics):
    line = f"simulate downpour --p 16 --eta .2 --rounds 2000 --replicas {replicas} --loss {statistics}"
    found = answer(line)
    assert found["diverged"] == replicas
    assert found["first_diverged_round"] == 683
    assert found["center_mean"] == [None]
    assert found["loss"] is None
    assert found["measured_growth"] == pytest.approx(found["spectral_radius"], rel=1e-9)
    said = easgd(line)
    assert said.exit_code == 0
    verdict = "diverged at round 683" if replicas == 1 else "4 of 4 replicas diverged, the first at round 683"
    assert said.stdout.startswith(f"{verdict}: 2000 rounds")
    assert "at the end" not in said.stdout


def test_the_verdict_comes_first():
    said = easgd(f"{NOISY} --loss")
    assert said.stderr == ""
    lines = said.stdout.splitlines()
    assert lines[0] == "did not diverge: 20 rounds, replicas: 5, seed 7"
    assert lines[1].startswith("EASGD(eta=0.1, alpha=0.1), synchronous, p=3, tau=1, Quadratic(h=1.0, noise=1.0")
    assert lines[2].startswith("center at the end: mean ")
    assert "standard deviation" in lines[2]
    assert lines[3].startswith("loss at the end: ")
    assert lines[4].startswith("growth per round: no single factor was measured, predicted 0.9")


def test_objectives_have_their_flags():
    spectrum = answer(f"{ELASTIC} --h 1,.5 --rounds 400")
    assert spectrum["objective_parameters"]["h"] == [1.0, 0.5]
    radius = spectral_radius(EASGD(0.1, 0.1), RoundRobin(p=3), h=[1.0, 0.5], over_spectrum=True)
    assert spectrum["measured_growth"] == pytest.approx(radius, rel=1e-9)
    well = answer(f"{ELASTIC} --objective double-well --start .5 --noise .1 --rounds 9")
    run = simulate(EASGD(0.1, 0.1), RoundRobin(p=3), DoubleWell(noise=0.1), rounds=9, start=[0.5] * 4)
    assert well["center_mean"] == run.center[0, -1].values.tolist()
    assert (well["spectral_radius"], well["measured_growth"]) == (None, None)
    regression = answer(f"{ELASTIC} --objective linear-regression --variance 1,.1 --shape 2 --rounds 9")
    run = simulate(EASGD(0.1, 0.1), RoundRobin(p=3), LinearRegression([1.0, 0.1], shape=2.0), rounds=9)
    assert regression["center_mean"] == run.center[0, -1].values.tolist()


def test_a_start_of_every_variable():
    line = "simulate diloco --schedule synchronous --p 2 --eta .1 --nu .7 --mu .9 --rounds 3"
    start = [1.0, 0.0, -2.0, 0.0, 3.0, 0.5]
    run = simulate(DiLoCo(eta=0.1, nu=0.7, mu=0.9), Synchronous(p=2), Quadratic(), rounds=3, start=start)
    found = answer(f"{line} --start 1,0,-2,0,3,.5")
    assert found["center_mean"] == run.center[0, -1].values.tolist()
    of_one = simulate(DiLoCo(eta=0.1, nu=0.7, mu=0.9), Synchronous(p=2), Quadratic(), rounds=3)
    assert answer(f"{line} --start 2")["center_mean"] == pytest.approx(2 * of_one.center[0, -1].values, rel=1e-12)


def test_a_random_order_has_no_predicted_growth():
    found = answer(f"{ELASTIC} --schedule random --rounds 30 --seed 3")
    run = simulate(EASGD(0.1, 0.1), RandomOrder(p=3), Quadratic(), rounds=30, seed=3)
    assert found["center_mean"] == run.center[0, -1].values.tolist()
    assert found["spectral_radius"] is None


def test_an_asynchronous_schedule_has_its_times(tmp_path):
    times = "--compute lognormal:1:.3 --communication deterministic:.5 --speeds 1,1,.1 --split"
    line = f"{ELASTIC} --schedule asynchronous --noise 1 --rounds 30 --replicas 4 {times}"
    found = answer(f"{line} -o {tmp_path}/run.nc")
    schedule = Asynchronous(
        p=3, compute=Lognormal(1.0, 0.3), communication=Deterministic(0.5), speeds=[1.0, 1.0, 0.1], split=True
    )
    run = simulate(EASGD(0.1, 0.1), schedule, Quadratic(1.0, 1.0), rounds=30, replicas=4)
    with xr.open_dataset(tmp_path / "run.nc") as written:
        xr.testing.assert_equal(written.load(), run)
    assert found["simulated_seconds"] == pytest.approx(run.time[:, -1].mean().item(), rel=1e-12)
    assert found["times"] == {
        "compute": "Lognormal(mean=1.0, shape=0.3)",
        "communication": "Deterministic(mean=0.5)",
        "speeds": [1.0, 1.0, 0.1],
        "split": True,
    }
    assert found["spectral_radius"] is None
    one = answer(f"{line} --statistics --plot {tmp_path}/run.png")
    assert one["simulated_seconds"] == pytest.approx(found["simulated_seconds"], rel=1e-12)
    assert "simulated time: " in easgd(line).stdout


@pytest.mark.parametrize("suffix", ["nc", "zarr"])
@pytest.mark.parametrize("statistics", [False, True])
def test_what_was_recorded_is_in_the_file(tmp_path, suffix, statistics):
    path = tmp_path / f"run.{suffix}"
    flags = "--loss --spread --worker-mean" + " --statistics" * statistics
    result = easgd(f"{NOISY} {flags} -o {path}")
    assert result.stdout.endswith(f"wrote {path}\n")
    expected = noisy(loss=True, spread=True, worker_mean=True, statistics=statistics)
    with xr.open_dataset(path, engine="zarr" if suffix == "zarr" else None) as found:
        xr.testing.assert_equal(found.load(), expected)
        assert found.attrs == expected.attrs
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("statistics", [False, True])
def test_a_table_has_a_row_for_each_value(tmp_path, statistics):
    path = tmp_path / "run.csv"
    assert easgd(f"{NOISY} --loss -o {path}{' --statistics' * statistics}").exit_code == 0
    expected = noisy(loss=True, statistics=statistics)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert Counter(row["variable"] for row in rows) == {str(name): expected[name].size for name in expected}
    for row in rows:
        array = expected[row["variable"]]
        place = {name: row[name] if name == "statistic" else int(row[name]) for name in array.dims}
        assert all(row[name] == "" for name in set(row) - {"variable", "value", *array.dims})
        value = array.sel(place).item()
        assert row["value"] == "" if np.isnan(value) else float(row["value"]) == value


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_the_picture_of_a_run(tmp_path, suffix, magic):
    path = tmp_path / f"run.{suffix}"
    assert answer(f"{NOISY} --loss --spread --plot {path}")["picture"] == str(path)
    assert path.read_bytes().startswith(magic)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "line",
    [
        f"{ELASTIC} --rounds 1",
        f"{ELASTIC} --rounds 5000 --replicas 2 --statistics --loss",
        "simulate downpour --p 16 --eta .2 --rounds 2000 --loss --worker-mean",
        "simulate sgd --eta .1 --h 1,2,3 --noise 1 --rounds 9 --spread",
    ],
)
def test_every_run_can_be_drawn(line, tmp_path):
    assert easgd(f"{line} --plot {tmp_path}/run.png").exit_code == 0


def test_the_picture_is_of_the_run(monkeypatch):
    drawn = []
    monkeypatch.setattr(command, "write_picture", lambda figure, path: drawn.append(figure))
    assert easgd(f"{NOISY} --loss --plot run.png").exit_code == 0
    center, loss = drawn[0].axes
    run = noisy(loss=True)
    np.testing.assert_allclose(center.lines[0].get_ydata(), run.center.mean("replica")[:, 0], rtol=1e-12)
    np.testing.assert_allclose(loss.lines[0].get_ydata(), run.loss.mean("replica"), rtol=1e-12)
    low_and_high = center.collections[0].get_paths()[0].vertices[:, 1]
    above = run.center.mean("replica") + run.center.std("replica", ddof=1)
    assert low_and_high.max() == pytest.approx(above.max().item())
    assert (center.get_xlim(), loss.get_xlabel(), loss.get_yscale()) == ((0, 20), "round", "log")


ASYNCHRONOUS = f"{ELASTIC} --schedule asynchronous --compute lognormal:1:.3 --noise 1 --rounds 20"


@pytest.mark.parametrize(
    ("replicas", "label"), [(1, "simulated seconds"), (3, "simulated seconds, mean of the replicas")]
)
@pytest.mark.parametrize("statistics", ["", "--statistics"])
def test_the_picture_of_an_asynchronous_run_shows_seconds(replicas, label, statistics, monkeypatch, tmp_path):
    drawn, path = [], tmp_path / "run.nc"
    monkeypatch.setattr(command, "write_picture", lambda figure, path: drawn.append(figure))
    line = f"{ASYNCHRONOUS} --replicas {replicas} {statistics} --loss --plot run.png"
    assert easgd(line).exit_code == 0
    assert easgd(f"{ASYNCHRONOUS} --replicas {replicas} -o {path}").exit_code == 0
    with xr.open_dataset(path) as run:
        seconds = run.time.mean("replica").values
    (_, loss) = drawn[0].axes
    np.testing.assert_allclose(loss.lines[0].get_xdata(), seconds, rtol=1e-12)
    assert loss.get_xlabel() == label
    assert loss.get_xlim() == (0, pytest.approx(seconds[-1]))


BAD_INPUT = {
    "simulate": "ALGORITHM is missing",
    ELASTIC: "--rounds is missing: how many rounds",
    f"{ELASTIC} --rounds 0": "--rounds must be a whole number of at least 1, got '0'",
    f"{ELASTIC} --rounds 9 --seed -1": "--seed must be a whole number of at least 0, got '-1'",
    f"{ELASTIC} --rounds 9 --seed 9223372036854775808": "seed must be at least 0 and below",
    f"{ELASTIC} --rounds 9 --replicas no": "--replicas must be a whole number of at least 1, got 'no'",
    f"{ELASTIC} --rounds 9999999 --replicas 99": "--statistics keeps mean and variance",
    "simulate easgd --p inf --eta .1 --alpha .1 --rounds 9": "--p must be a whole number of at least 1, got 'inf'",
    "simulate easgd --p 3 --eta .1 --rounds 9": "EASGD needs --alpha",
    "simulate easgd --eta .1 --alpha .1 --rounds 9": "EASGD needs --p",
    "simulate admm --p 3 --tau 2 --eta .1 --rho 1 --rounds 9": "ADMM is defined for tau=1 only, got tau=2",
    f"{ELASTIC} --rounds 9 --schedule rando": "'rando' is not one of 'round-robin', 'synchronous', 'random'",
    f"{ELASTIC} --rounds 9 --noise -1": "noise must be a number, at least 0, got -1.0",
    f"{ELASTIC} --rounds 9 --noise 1,2": "noise must be a number, at least 0, got [1.0, 2.0]",
    f"{ELASTIC} --rounds 9 --h 1,no": "--h must be a finite number, or several such as 1,10, got '1,no'",
    f"{ELASTIC} --rounds 9 --h 1,": "--h must be a finite number, or several such as 1,10, got '1,'",
    f"{ELASTIC} --rounds 9 --objective double-well --h 1,2": "double-well has no parameter h, got --h 1,2",
    f"{ELASTIC} --rounds 9 --objective linear-regression --shape 0": "shape must be positive",
    f"{ELASTIC} --rounds 9 --start 1,2": "start must be a number or have the shape (4,)",
    f"{ELASTIC} --rounds 9 --rho 1": "EASGD has no parameter rho, got --rho 1",
    f"{ELASTIC} --rounds 9 --compute pareto:1:2 --split": "--compute and --split need --schedule asynchronous, got",
    f"{ELASTIC} --rounds 9 --schedule asynchronous --compute gauss:1": "--compute must be deterministic, exponential,",
    f"{ELASTIC} --rounds 9 --schedule asynchronous --compute pareto:1": "--compute must be pareto:MEAN:SHAPE with",
    f"{ELASTIC} --rounds 9 --schedule asynchronous --compute exponential:x": "--compute must be exponential:MEAN with",
    f"{ELASTIC} --rounds 9 --schedule asynchronous --compute pareto:1:1": "shape must be above 1 for Pareto, got 1.0",
    f"{ELASTIC} --rounds 9 --schedule asynchronous --speeds 1,2": "speeds must be a number or one for each of p=3",
    f"{ELASTIC} --rounds 9 -o FILE.txt": "-o must end in .zarr, .nc, .csv, got",
    f"{ELASTIC} --rounds 9 -o /nonexistent/r.nc": "'/nonexistent/r.nc': no such file or directory",
    f"{ELASTIC} --rounds 9 --plot FILE.gif": "--plot must end in .png, .svg, .pdf, got",
    f"{ELASTIC} --rounds 9 --checkpoint /nonexistent/c": "--checkpoint must be in a directory that can be written",
}


@pytest.mark.parametrize("line", BAD_INPUT)
def test_bad_input_is_one_sentence(line, tmp_path):
    assert_refused(line, BAD_INPUT[line], tmp_path)


def test_a_store_is_not_overwritten(tmp_path):
    (tmp_path / "run.zarr").mkdir()
    result = easgd(f"{ELASTIC} --rounds 9 -o {tmp_path}/run.zarr")
    assert result.exit_code == 2
    assert "-o must name a new path where it ends in .zarr" in result.stderr
    assert list((tmp_path / "run.zarr").iterdir()) == []


def test_a_directory_is_whole_or_not_there(tmp_path):
    def write() -> None:
        with new_directory(tmp_path / "run.zarr") as temporary:
            temporary.mkdir()
            (temporary / "half").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_is_gone_on_from(tmp_path):
    line = f"{NOISY} --checkpoint {tmp_path}/state"
    assert answer(line.replace("--rounds 20", "--rounds 8"))["checkpoint"] == f"{tmp_path}/state"
    result = easgd(f"{line} -o {tmp_path}/run.nc")
    assert result.exit_code == 0
    assert result.stderr == f"easgd: continuing from '{tmp_path}/state'\n"
    with xr.open_dataset(tmp_path / "run.nc") as found:
        xr.testing.assert_equal(found.load(), noisy())
    other = easgd(line.replace("--seed 7", "--seed 8"))
    assert other.exit_code == 2
    assert "checkpoint must belong to this very run" in other.stderr


def test_an_interrupted_run_says_how_to_continue(tmp_path, monkeypatch):
    whole = simulations.simulate

    def interrupted(*arguments: object, rounds: int, **settings: object) -> None:
        whole(*arguments, rounds=rounds // 2, **settings)  # the state is kept as it is where ^C comes
        raise KeyboardInterrupt

    line = f"{NOISY} --checkpoint {tmp_path}/state -o {tmp_path}/run.nc"
    with monkeypatch.context() as patch:
        patch.setattr(simulations, "simulate", interrupted)
        result = easgd(line)
        assert result.exit_code == 130
        assert f"'{tmp_path}/state' holds the run so far, and the same command continues there" in result.stderr
        assert list(tmp_path.iterdir()) == [tmp_path / "state"]
        without = easgd(NOISY)
        assert without.exit_code == 130
        assert "files that were not complete have been removed" in without.stderr
    assert easgd(line).exit_code == 0
    with xr.open_dataset(tmp_path / "run.nc") as found:
        xr.testing.assert_equal(found.load(), noisy())


def test_the_bar_follows_the_rounds(monkeypatch):
    reached = []

    class Recorder:
        def reach(self, done: int) -> None:
            reached.append(done)

    @contextmanager
    def recorded(title, total, done=0):
        assert (title, total) == ("simulate", 20)
        yield Recorder()

    monkeypatch.setattr(easgd_cli.progress, "progress", recorded)
    assert easgd(NOISY).exit_code == 0
    assert reached == sorted(reached)
    assert reached[-1] == 20


def test_the_bar_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with easgd_cli.progress.progress("simulate", 10) as bar:
        bar.reach(4)
        assert bar._bar is not None
        assert bar._bar.tasks[0].completed == 4


def test_help_loads_no_compiler():
    code = "import sys; from easgd_cli.main import cli; cli(['simulate', '--help'], standalone_mode=False)"
    code += "; print([name for name in ('numba', 'xarray', 'scipy', 'matplotlib', 'sympy') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "Curvature, or with commas the spectrum of the Hessian (quadratic)." in " ".join(done.stdout.split())


# The growth of a path


@pytest.mark.parametrize("factor", [1.02, 0.6, -0.9, 1.001 * np.exp(0.3j), 0.99 * np.exp(0.01j)])
def test_growth_is_the_modulus_of_what_dominates(factor):
    t = np.arange(300)[:, None]
    path = np.real(factor**t * np.array([1.0, 2.0 + 1.0j])) + 1e-3 * 0.5**t
    growth, misfit = measured_growth(path)
    assert growth == pytest.approx(abs(factor), rel=1e-9)
    assert misfit < 1e-9


def test_growth_that_is_no_single_factor_is_noticed():
    t = np.arange(300.0)[:, None]
    assert measured_growth(np.random.default_rng(0).normal(size=(300, 1)))[1] > 0.1
    assert measured_growth(1.01**t + 1.02**t + 1.03**t)[1] > 1e-9
    assert measured_growth(np.ones((5, 1)))[1] == np.inf
    assert measured_growth(np.zeros((50, 1)))[1] == np.inf
