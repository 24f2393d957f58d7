"""`easgd reproduce`: the report is complete and stands alone, and a wrong formula is noticed."""

from __future__ import annotations

import json
from base64 import b64decode
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner, Result
from test_figures import NAMES as FIGURES

from easgd_cli import claims
from easgd_cli.claims import BEYOND, PAPER, QUICK, Statement, Verdict, lemma7, section4, simulated
from easgd_cli.claims.kit import Finding, about, near_one
from easgd_cli.main import cli
from figures.simulated import stragglers

BY_IDENTIFIER = {statement.identifier: statement for statement in (*PAPER, *BEYOND)}


def reproduce(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["reproduce", "--quick", *map(str, arguments)])


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[Result, Path]:
    directory = tmp_path_factory.mktemp("reproduce") / "made" / "here"
    return reproduce("-o", directory, "--json"), directory


class Page(HTMLParser):
    """Tags of a page with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_every_claim_agrees(run):
    result, directory = run
    assert result.exit_code == 0, result.stderr
    printed = json.loads(result.stdout)
    assert printed.pop("report") == str(directory / "report.html")
    assert printed == json.loads((directory / "results.json").read_text())
    assert printed["schema_version"] == 1
    assert printed["agree"] is True
    assert [claim["identifier"] for claim in printed["claims"]] == [s.identifier for s in (*PAPER, *BEYOND)]
    assert {claim["identifier"] for claim in printed["claims"] if claim["verdict"] == "agrees, refined"} == {
        "4.3",
        "4.7",
    }
    assert all(claim["numbers"] and claim["seconds"] >= 0 for claim in printed["claims"])
    numbers = {claim["identifier"]: claim["numbers"] for claim in printed["claims"]}
    assert numbers["4.3"]["radius_p3"] == pytest.approx(1.0009738854, abs=1e-10)
    assert numbers["4.3"]["simulator_and_loops"] < 1e-9
    assert numbers["7.1d"]["simulated_p8"] == pytest.approx(0.005643812709, rel=0.1)  # docs: Lemma 7.1
    assert numbers["4.7"]["largest_alpha_p4"] == pytest.approx(0.6751, abs=1e-4)


def test_progress_is_a_line_per_step(run):
    lines = run[0].stderr.splitlines()
    assert len(lines) == len(PAPER) + len(BEYOND) + len(FIGURES)
    assert all(line.endswith(" s") for line in lines)
    assert lines[0].startswith(f"[ 1/{len(lines)}] 4.1")


def test_the_report_stands_alone(run):
    page = Page((run[1] / "report.html").read_text(encoding="utf-8"))
    links = {attributes.get("href") for _, attributes in page.tags} - {None}
    assert links == {"https://arxiv.org/abs/1412.6651"}  # followed by a click only
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object"}
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == len(FIGURES)
    for image in images:
        assert image["alt"]
        kind, _, content = (image["src"] or "").partition(",")
        assert kind == "data:image/png;base64"
        assert b64decode(content).startswith(b"\x89PNG")


def test_the_report_says_what_was_found(run):
    page = Page((run[1] / "report.html").read_text(encoding="utf-8"))
    text = page.text.replace("\u00a0", " ")
    found = json.loads((run[1] / "results.json").read_text())
    for claim in found["claims"]:
        assert claim["statement"] in text
        assert claim["ours"] in text
    assert "13 of 13 claims agree, 2 of them refined" in text


def test_the_figures_and_their_data_lie_beside_it(run):
    names = {f"{name}{suffix}" for name in FIGURES for suffix in (".png", ".svg", ".nc")}
    assert {path.name for path in run[1].iterdir()} == names | {"report.html", "results.json"}
    with xr.open_dataset(run[1] / "admm_regions.nc") as regions:
        assert float(regions.spectral_radius.sel(p=8).max()) == pytest.approx(1.00285, abs=2e-5)


def _false(_: object) -> Finding:
    return Finding("It is 2 < 1.", {"two": 2}, agrees=False)


def test_a_claim_that_disagrees_is_exit_code_1(monkeypatch, tmp_path):
    monkeypatch.setattr(claims, "PAPER", (Statement("9.9", "Nowhere", "One & two are <equal>.", _false),))
    monkeypatch.setattr(claims, "BEYOND", ())
    monkeypatch.setattr("easgd_cli.pictures.PICTURES", ())
    result = reproduce("-o", tmp_path)
    assert result.exit_code == 1
    assert result.stdout.startswith(f"report: {tmp_path / 'report.html'}\n0 of 1 claims agree")
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "One &amp; two are &lt;equal&gt;." in html
    assert "disagrees" in Page(html).text


def _wrong_condition(eta: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return (eta >= 0) & (eta <= 2) & (alpha >= 0) & (alpha <= (4 - 2 * eta) / (4 - 1.2 * eta))


def _exchanged(replicas: int) -> xr.Dataset:
    """What DOWNPOUR did as EASGD's, and the reverse."""
    return stragglers(replicas=replicas).roll(algorithm=1)


@pytest.mark.parametrize(
    ("identifier", "module", "name", "replacement"),
    [
        ("4.1", section4, "_printed_tick", lambda eta, rho, p: np.eye(2 * p + 1)),
        ("4.2", section4, "_delay_polynomial_radius", lambda eta, rho, p: 1.001),
        ("4.3", section4, "measured_growth", lambda path: (1.001, 0.0)),
        ("4.3", section4, "_simulate", lambda p, rounds: np.zeros(rounds + 1)),
        ("4.5", section4, "_condition", _wrong_condition),
        ("4.7", section4, "_condition", _wrong_condition),
        ("7.1a", lemma7, "easgd_center_moments", lambda *_, **__: (0.9, 1.0)),
        ("7.1b", lemma7, "easgd_center_moments", lambda *_, **__: (0.9, 1.0)),
        ("7.1c", lemma7, "spectral_radius", lambda *_, **__: 0.5),
        ("7.1d", simulated, "easgd_center_moments", lambda *_: (0.0, 0.006)),
        ("B7", simulated, "stragglers", _exchanged),
        ("B6", simulated, "_share_that_stays", lambda p, rho: 1.0),
        ("7.2", lemma7, "_scaled_variance", lambda eta, beta, p, t: eta * beta),
    ],
)
def test_a_wrong_formula_is_noticed(monkeypatch, identifier, module, name, replacement):
    monkeypatch.setattr(module, name, replacement)
    assert BY_IDENTIFIER[identifier].judge(QUICK).verdict is Verdict.DISAGREES


def test_a_directory_that_cannot_be_made_is_refused_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    for path, reason in ((tmp_path / "file", "got the file"), (tmp_path / "file" / "below", "not a directory")):
        result = reproduce("-o", path)
        assert result.exit_code == 2
        assert result.stderr.startswith("easgd: error: -o must name a directory")
        assert reason in result.stderr
        assert result.stderr.count("\n") == 1


def test_numbers_in_words():
    assert [about(value) for value in (0, 2.3e-14, 0.02, 1e18, -4e7)] == ["0", "2·10⁻¹⁴", "0.02", "1·10¹⁸", "-4·10⁷"]
    assert [near_one(value) for value in (1.0, 1 + 4e-15, 1 - 1e-3)] == ["exactly 1", "1 + 4·10⁻¹⁵", "1 − 1·10⁻³"]
