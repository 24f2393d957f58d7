"""`easgd validate`: tables, figures and a report, sentences for what cannot be, and its exit code."""

import json
from html.parser import HTMLParser

import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib.axes import Axes

from easgd_cli import validate as command
from easgd_cli.main import cli
from figures import validated
from gpu_trainer.edge import EdgeCheck
from gpu_trainer.fate import FateCheck, SettlingCheck, admm_grid, easgd_grid
from gpu_trainer.modes import GrowthCheck, MapCheck
from gpu_trainer.site import Site, prepare

ASKED = ["--images", 16, "--train-steps", 50, "--processes", 1]
SITE = Site(images=16, steps=50)
GRIDS = (easgd_grid(3, 30), admm_grid(2, 20))


def small_map(site, quick):
    return [MapCheck(site=site, workers=(2,), periods=(1,), eigenvectors=("top", "lowest"))]


def small_growth(site, quick):
    return [GrowthCheck(site=site, workers=(2,), periods=(1,), rounds=30)]


def small_fate(site, quick):
    settling = SettlingCheck(site=site, grids=(easgd_grid(2, 20),), batch=8)
    return [FateCheck(site=site, grids=GRIDS), settling, EdgeCheck(site=site, couplings=((2, 0.1),), rounds=20)]


@pytest.fixture(scope="module")
def small():
    """The commands with few cases, and pictures of few points."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validated, "_FINE", 30)
        for name, checks in (("map", small_map), ("growth", small_growth), ("fate", small_fate)):
            patch.setitem(command._COMMANDS, name, (checks, "Less of it."))
        yield


def run(*arguments):
    return CliRunner().invoke(cli, ["validate", *map(str, arguments)])


@pytest.fixture(scope="module")
def done(small, tmp_path_factory):
    """All three commands, one directory."""
    directory = tmp_path_factory.mktemp("validation") / "made" / "here"
    return {name: run(name, *ASKED, "-o", directory, "--json") for name in ("map", "growth", "fate")}, directory


def test_it_is_as_predicted(done):
    results, directory = done
    for result in results.values():
        assert result.exit_code == 0, result.output
        assert result.stderr == ""
    found = [finding for result in results.values() for finding in json.loads(result.stdout)["findings"]]
    assert {each["name"]: each["agrees"] for each in found} == {
        "map": True,
        "growth": True,
        "fate": True,
        "settling": None,
        "edge": None,
    }
    numbers = {each["name"]: each["numbers"] for each in found}
    assert numbers["map"]["agree"] == numbers["map"]["cases"] == 28
    assert numbers["map"]["largest_error"] < 1e-6
    assert sum(numbers["fate"]["EASGD"]["in the band"][name] for name in ("left", "stayed")) <= 1
    cells = sum(
        numbers["fate"]["ADMM"][place][name] for place in ("in the band", "outside the band") for name in COUNTS
    )
    assert cells == 4
    kept = json.loads((directory / "map.json").read_text())
    assert kept["numbers"] == numbers["map"]


COUNTS = ("left_as_predicted", "stayed_as_predicted", "left", "stayed")


def test_the_directory_holds_tables_figures_and_the_report(done):
    names = {path.name for path in done[1].iterdir() if path.suffix != ".npz"}
    tables = ("map", "growth", "fate", "settling", "edge")
    pictures = ("map", "growth", "fate_easgd", "fate_admm", "settling_easgd", "edge")
    expected = {f"{name}{suffix}" for name in tables for suffix in (".csv", ".json")}
    assert names == expected | {f"{name}{suffix}" for name in pictures for suffix in (".png", ".svg")} | {"report.html"}


class Page(HTMLParser):
    """Tags of a page with their attributes, and its text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def test_the_report_has_all_of_it_and_stands_alone(done):
    results, directory = done
    page = Page((directory / "report.html").read_text())
    images = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 6
    assert all(source.startswith("data:image/png;base64,") for source in images)
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object"}
    for result in results.values():
        for finding in json.loads(result.stdout)["findings"]:
            assert all(sentence in page.text for sentence in finding["sentences"])


def test_the_same_command_again_computes_nothing(done, monkeypatch):
    monkeypatch.setattr(MapCheck, "measure", lambda *_: pytest.fail("a case was done again"))
    table = (done[1] / "map.csv").read_bytes()
    result = run("map", *ASKED, "-o", done[1])
    assert result.exit_code == 0
    assert result.stdout.startswith(
        "The matrix of a round: as predicted\n  tiny on 16 images of digits, 1446 parameters"
    )
    assert "subtracted everywhere" in result.stdout
    assert (done[1] / "map.csv").read_bytes() == table


def test_what_is_not_as_predicted_is_exit_code_1(done, tmp_path):
    """One row of the table is made to say so."""
    for path in done[1].iterdir():
        if path.suffix in (".csv", ".npz"):
            (tmp_path / path.name).write_bytes(path.read_bytes())
    head, _, last = (tmp_path / "map.csv").read_text().rpartition("True")
    (tmp_path / "map.csv").write_text(f"{head}False{last}")
    result = run("map", *ASKED, "-o", tmp_path)
    assert result.exit_code == 1
    assert "The matrix of a round: NOT as predicted" in result.stdout
    assert "27 of 28 measured matrices" in result.stdout
    assert "not as predicted" in Page((tmp_path / "report.html").read_text()).text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["map", "--data", "digit"], "data must be one of digits"),
        (["map", "--model", "nothing:at_all"], "cannot be imported"),
        (["growth", "--images", "100000"], "the batch size must be from 1 to 1437"),
        (["growth", "--images", "0"], "--images must be a whole number of at least 1"),
        (["fate", "--processes", "0"], "--processes must be a whole number of at least 1"),
        (["fates"], "fates"),
        ([], "one of map, growth, fate, comparison or schedules"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_is_a_sentence(arguments, words, tmp_path, monkeypatch, small):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("easgd: error: ")
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_directory_of_another_check_is_refused(done):
    result = run("map", *ASKED, "--seed", 2, "-o", done[1])
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "holds another check: its seed is 1, not 2; give another directory" in result.stderr


def test_the_picture_of_fate_shows_the_prediction_and_the_cells(done):
    directory = done[1]
    rows = validated.rows(directory / "fate.csv")
    ground = prepare(SITE, directory)
    shown = validated.region(GRIDS[0], ground, rows)
    assert shown.sizes["row"] == 9
    assert shown.attrs["rounds"] == 30
    axes = validated.fate(shown)
    assert isinstance(axes, Axes)
    counts = {line.get_label(): len(line.get_xdata()) for line in axes.get_lines()}
    assert counts["left the point"] == int(shown.measured.sum())
    assert counts["left the point"] + counts["stayed near it"] == 9
    # the shaded region, held against the rows' own predictions where they are not near the edge
    for i in np.flatnonzero(~shown.near_edge.values):
        x, y = float(shown.eta_h_max[i]), float(shown.coupling[i])
        there = shown.predicted_region.sel(rate_axis=x, coupling_axis=y, method="nearest")
        assert bool(there > 100) == bool(shown.predicted[i])


def test_rows_have_their_types_and_the_site(done):
    rows = validated.rows(done[1] / "growth.csv")
    assert rows.agrees.dtype == bool
    assert rows.predicted.dtype == rows.p.dtype == float
    assert rows.left_out.dtype.kind == "U"
    assert (rows.attrs["model"], rows.attrs["images"], rows.attrs["seed"]) == ("tiny", 16, 1)
