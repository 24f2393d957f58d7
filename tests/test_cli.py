"""`easgd stability` and `easgd map`: their numbers, their files, and what they say to bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from math import inf
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner, Result

from easgd_cli import map as map_command
from easgd_cli import stability
from easgd_cli.main import cli
from easgd_cli.output import to_json
from easgd_cli.stability import Edges, nearest_edges
from easgd_theory import ADMM, ALGORITHMS, EASGD, DiLoCo, RoundRobin, Synchronous, spectral_radius, stability_map
from easgd_theory.algorithm import Parameter
from easgd_theory.algorithms.sequential import SGD
from easgd_theory.files import atomic

EXAMPLE = "stability admm --p 3 --eta 0.001 --rho 2.5"
AXES = "--x eta:0.1:1:4 --y alpha:0.1:1:3"


def easgd(line: str) -> Result:
    """Run a command line in this process; a path in it has no spaces."""
    return CliRunner().invoke(cli, line.split())


def answer(line: str) -> dict:
    result = easgd(f"{line} --json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def assert_refused(line: str, sentence: str, folder: Path) -> None:
    """One sentence, and nothing left behind; FILE and FOLDER in the line stand for paths in the folder."""
    result = easgd(line.replace("FILE", f"{folder}/file").replace("FOLDER", str(folder)))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("easgd: error: ")
    assert result.stderr.count("\n") == 1
    assert sentence in result.stderr
    assert list(folder.iterdir()) == []


def test_the_papers_example():
    three, eight = answer(EXAMPLE), answer(EXAMPLE.replace("3", "8", 1))
    assert three["spectral_radius"] == pytest.approx(1.0009738854, abs=1e-10)
    assert eight["spectral_radius"] == pytest.approx(1.0022578661, abs=2e-10)
    assert three["stable"] is False
    assert three["converges"] is False


def test_json_of_stability():
    found = answer(EXAMPLE)
    assert found["schema_version"] == 1
    assert found["parameters"] == {"eta": 0.001, "rho": 2.5}
    asked = {name: found[name] for name in ("algorithm", "schedule", "p", "tau", "h")}
    assert asked == {"algorithm": "ADMM", "schedule": "round-robin", "p": 3, "tau": 1, "h": 1.0}
    assert found["spectral_radius"] == spectral_radius(ADMM(eta=0.001, rho=2.5), RoundRobin(p=3))  # all digits
    assert found["margin"] == 1 - found["spectral_radius"]
    assert found["condition"] is None
    assert found["edges"]["eta"]["stable_intervals"] == [[pytest.approx(0.0020910254), None]]


@pytest.mark.parametrize("name", ["eta", "rho"])
def test_the_suggested_value_is_stable(name):
    suggested = answer(EXAMPLE)["edges"][name]["suggested"]
    values = {"eta": 0.001, "rho": 2.5} | {name: suggested}
    assert answer(f"stability admm --p 3 --eta {values['eta']} --rho {values['rho']}")["stable"]


def test_the_condition_is_the_librarys():
    assert answer("stability easgd --p 3 --eta 1 --alpha .5")["condition"]["exact"] is True
    condition = answer("stability easgd --p 2 --eta 1 --alpha .5")["condition"]
    assert condition["exact"] is False
    assert "(4 - 2*eta*h)/(4 - eta*h)" in condition["statement"]
    assert set(condition) == {"statement", "exact", "domain", "reference"}


@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        (EXAMPLE, "diverges"),
        ("stability easgd --p 3 --eta 1 --alpha 0.5", "converges"),
        ("stability easgd --p 3 --eta 1 --alpha 0.5 --h 0", "stays bounded"),
    ],
)
def test_the_verdict_comes_first(line, verdict):
    result = easgd(line)
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{verdict}: a round multiplies")
    assert result.stderr == ""


def test_what_is_not_certified_is_undecided():
    line = "stability eamsgd --p 2500 --tau 10 --eta .95 --alpha .3 --delta .3"
    result = easgd(line)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("undecided: the spectral radius could not be certified\n")
    assert "nan" not in result.stdout
    names = ("spectral_radius", "stable", "converges", "margin")
    assert [answer(line)[name] for name in names] == [None] * 4


def test_options_schedules_and_defaults():
    printed, nesterov = (answer(f"stability mdownpour --p 2 --eta .1 --delta .9 {on}") for on in ("", "--nesterov"))
    assert printed["parameters"]["nesterov"] is False
    assert nesterov["parameters"]["nesterov"] is True
    assert printed["spectral_radius"] != nesterov["spectral_radius"]
    assert answer("stability SGD --eta .5")["p"] == 1  # it has one worker, so --p may be left out
    assert answer("stability diloco --schedule synchronous --p 99 --tau 5 --eta .1 --nu .7 --mu .9")["edges"]


def test_edges_of_a_large_state_are_left_out():
    line = "stability easgd --p 41 --eta 1 --alpha .1"
    assert answer(line)["edges"] is None
    assert "--edges" in easgd(line).stdout
    assert answer("stability easgd --p 2 --eta 1 --alpha .1 --no-edges")["edges"] is None
    assert answer(f"{line} --edges")["edges"]["eta"]["nearest"] == pytest.approx(1.894737)


def test_nearest_edges():
    assert nearest_edges(3.0, [(0.0, 1.0), (5.0, 7.0)], stable=False).suggested == pytest.approx(5.2)
    assert nearest_edges(4.5, [(0.0, 1.0), (5.0, 7.0)], stable=False).suggested == pytest.approx(5.2)
    assert nearest_edges(9.0, [(0.0, 1.0), (5.0, 7.0)], stable=False).nearest == 7.0
    assert nearest_edges(1.0, [(2.0, inf)], stable=False).suggested == pytest.approx(2.2)
    assert nearest_edges(-1.0, [(0.0, 2.0)], stable=False).nearest == 0.0
    assert nearest_edges(0.5, [(0.0, 1.0)], stable=True).suggested is None
    for everywhere_or_nowhere in ([], [(0.0, inf)]):
        found = nearest_edges(1.0, everywhere_or_nowhere, stable=False)
        assert found == Edges(tuple(everywhere_or_nowhere), nearest=None, suggested=None)


@dataclass(frozen=True, eq=False)
class Halved(SGD):
    """An algorithm of a user's."""

    eta: Parameter = None
    shrink_by: Parameter = None
    twice: bool = False

    @staticmethod
    def local(w, k, g):
        return (w.x - k.eta * k.shrink_by * (1 + k.twice) * g,)


def test_a_new_algorithm_has_its_flags(monkeypatch):
    monkeypatch.setitem(ALGORITHMS, "halved", Halved)
    assert answer("stability halved --eta 1 --shrink-by .25")["spectral_radius"] == 0.75
    assert answer("stability halved --eta 1 --shrink-by .25 --twice")["spectral_radius"] == 0.5
    assert "Of Halved." in easgd("stability --help").stdout


BAD_INPUT = {
    "stability": "ALGORITHM is missing: one of easgd",
    "stability easdg": "unknown algorithm 'easdg', did you mean easgd?",
    "stabilty easgd": "did you mean stability?",
    "stability easgd --eta .1 --alpha .1": "EASGD needs --p",
    "stability easgd --p 0 --eta .1 --alpha .1": "--p must be a whole number of at least 1, got '0'",
    "stability easgd --p two --eta .1 --alpha .1": "got 'two'",
    "stability easgd --p 3 --tau -1 --eta .1 --alpha .1": "--tau must be a whole number of at least 1, got '-1'",
    "stability easgd --p 3 --tau 1.5 --eta .1 --alpha .1": "got '1.5'",
    "stability easgd --p 3 --eta nan --alpha .1": "--eta must be a finite number, got 'nan'",
    "stability easgd --p 3 --eta .1 --alpha .1 --h inf": "--h must be a finite number, got 'inf'",
    "stability easgd --p 3 --eta .1": "EASGD needs --alpha",
    "stability easgd --p 3 --eta .1 --alpha .1 --rho 2": "EASGD has no parameter rho, got --rho 2; it takes --eta and",
    "stability easgd --p 3 --eta .1 --alpha .1 --nesterov": "EASGD has no parameter nesterov",
    "stability easgd --p 3 --et .1": "unknown option --et, did you mean --eta?",
    "stability easgd --p 3 --eta .1 --alpha .1 --schedule sync": "'sync' is not one of 'round-robin', 'synchronous'",
    "stability easgd 3": "unexpected extra argument (3)",
    "stability sgd --p 3 --eta .1": "SGD is defined for p=1 only, got p=3",
    "stability admm --p 3 --tau 2 --eta .1 --rho 1": "ADMM is defined for tau=1 only, got tau=2",
    "map easgd --p 3 -o FILE.png": "--x is missing: NAME:START:STOP:COUNT",
    f"map easgd --p 3 {AXES}": "give -o PICTURE, --data FILE or --json",
    f"map easgd --p 3 {AXES} -o /nonexistent/r.png": "'/nonexistent/r.png': no such file or directory",
    f"map easgd --p 3 {AXES} -o FOLDER": "-o must name a file, got the directory",
    f"map easgd --p 3 {AXES} -o FILE.gif": "-o must end in .png, .svg, .pdf, got",
    f"map easgd --p 3 {AXES} --data FILE.png": "--data must end in .nc, .csv, .zarr, got",
    f"map easgd --p 3 {AXES} --eta 1 -o FILE.png": "eta is given twice: as --x and as --eta 1",
    "map easgd --p 3 --x h:0:1:4 --y eta:0:1:4 --h 2 --json": "h is given twice",
    "map easgd --p 3 --x h:0:1:4 --y eta:0:1:4 --json": "EASGD needs --alpha",
    "map easgd --p 3 --x eta:0:1:4 --y eta:0:2:4 --json": "got eta twice",
    "map easgd --p 3 --x rho:0:1:4 --y eta:0:1:4 --json": "--x must be over a parameter of EASGD, eta, alpha or h",
    "map easgd --p 3 --x p:1:8:8 --y eta:0:1:4 --json": "give it as --p",
    "map easgd --p 3 --x 0:1:eta:4 --y eta:0:1:4 --json": "begins with a parameter's name",
    "map easgd --p 3 --x eta:1:0:5 --y alpha:0:1:4 --json": "START must be below STOP, got 1 and 0",
    "map easgd --p 3 --x eta:0:1:0 --y alpha:0:1:4 --json": "COUNT must be a whole number of at least 2, got '0'",
    "map easgd --p 3 --x eta:0:1 --y alpha:0:1:4 --json": "--x 'eta:0:1': an axis is NAME:START:STOP:COUNT",
    "map easgd --p 3 --x eta:0:nan:4 --y alpha:0:1:4 --json": "STOP must be a finite number, got 'nan'",
    "map easgd --p 3 --x eta:0:1:4:log --y alpha:0:1:4 --json": "START must be positive on a log axis, got 0",
    "map easgd --p 3 --x eta:0:1:4:cubic --y alpha:0:1:4 --json": "must be log or linear, got 'cubic'",
    "map easgd --p 3 --x eta:0:1:99999 --y alpha:0:1:999 --json": "where --data ends in .zarr, got 99999 x 999",
}


@pytest.mark.parametrize("line", BAD_INPUT)
def test_bad_input_is_one_sentence(line, tmp_path):
    assert_refused(line, BAD_INPUT[line], tmp_path)


def test_nothing_is_computed_for_a_path_that_cannot_be_written(monkeypatch):
    monkeypatch.setattr(map_command, "compute", lambda *_: pytest.fail("computed"))
    assert easgd(f"map easgd --p 3 {AXES} --data /nonexistent/r.nc").exit_code == 2


def test_help_and_version():
    assert "reproduce" in easgd("").stdout
    assert "Of EASGD, EAMSGD and Lookahead." in easgd("stability --help").stdout
    assert easgd("--version").stdout == "easgd 0.1.0\n"


@pytest.mark.parametrize("suffix", ["nc", "csv"])
def test_the_data_of_a_map(tmp_path, suffix):
    path = tmp_path / f"map.{suffix}"
    result = easgd(f"map easgd --p 3 --tau 2 {AXES} --data {path}")
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""  # no bar in a pipe
    assert result.stdout.startswith("EASGD, p=3: ")
    assert result.stdout.count("\n") == 1
    eta, alpha = np.linspace(0.1, 1, 4), np.linspace(0.1, 1, 3)
    expected = stability_map(EASGD(eta=eta, alpha=alpha), RoundRobin(p=3, tau=2)).transpose("alpha", "eta")
    if suffix == "nc":
        with xr.open_dataset(path) as found:
            xr.testing.assert_equal(found.load(), expected)
            assert found.attrs["tau"] == 2
            assert found.attrs["easgd_version"] == "0.1.0"
    else:
        table = np.loadtxt(path, delimiter=",", skiprows=1, usecols=(0, 1, 2))
        np.testing.assert_array_equal(table[:, 2], expected.spectral_radius.values.ravel())
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_the_picture_of_a_map(tmp_path, suffix, magic):
    path = tmp_path / f"map.{suffix}"
    line = f"map diloco --schedule synchronous --p 8 --mu .9 --eta .1 --x nu:.1:9:4:log --y h:0.1:9:3 -o {path} --json"
    found = json.loads(easgd(line).stdout)
    assert path.read_bytes().startswith(magic)
    assert path.stat().st_mode & 0o444 == 0o444
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert found["x"] == {"name": "nu", "start": 0.1, "stop": 9.0, "count": 4, "spacing": "log"}
    assert found["h"] is None
    rule = DiLoCo(eta=0.1, mu=0.9, nu=np.geomspace(0.1, 9, 4)[:, None])
    radius = np.asarray(spectral_radius(rule, Synchronous(p=8), h=np.linspace(0.1, 9, 3)))
    assert found["spectral_radius"]["max"] == pytest.approx(radius.max(), rel=1e-12)
    assert found["stable_share"] == pytest.approx((radius <= 1).mean())


def test_a_file_is_whole_or_not_there(tmp_path):
    path = tmp_path / "kept.txt"
    path.write_text("old")

    def write() -> None:
        with atomic(path) as temporary:
            temporary.write_text("half of the n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_has_no_nan():
    assert json.loads(to_json({"a": [inf, {"b": float("nan")}], "c": (1.0,)})) == {
        "schema_version": 1,
        "a": [None, {"b": None}],
        "c": [1.0],
    }


def test_interrupting_is_no_accident(monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stability, "answer", interrupted)
    result = easgd(EXAMPLE)
    assert result.exit_code == 130
    assert "easgd: interrupted" in result.stderr
    assert "Traceback" not in result.output


HEAVY = ["sympy", "xarray", "pandas", "numba", "torch", "matplotlib", "scipy", "rich", "jinja2"]


def test_stability_imports_nothing_heavy():
    code = f"""
import sys
from easgd_cli.main import main
sys.argv = ["easgd", *{EXAMPLE.split()!r}]
try:
    main()
finally:
    print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
    assert done.stdout.startswith("diverges")


def test_a_broken_pipe_is_silent():
    command = [sys.executable, "-m", "easgd_cli.main", *EXAMPLE.split()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()  # as `| true` does
        assert process.stderr.read() == b""


def test_the_console_script():
    script = Path(sys.executable).with_name("easgd")
    if not script.exists():
        pytest.skip("easgd is not installed beside this interpreter")
    done = subprocess.run([script, "stability", "sgd", "--eta", "3"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("diverges: a round multiplies the error by 2.0")
