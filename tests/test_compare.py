"""The paper's comparison: what is run, tabulated and drawn."""

import csv
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from test_cli_train import ENVIRONMENT

from figures import compared
from gpu_trainer.comparison import Comparison, compare, curves

QUICK = Comparison(data="digits", model="tiny", workers=2, periods=(2,), steps=10, batch_size=32)


def test_the_paper_s_methods_and_periods():
    names = list(Comparison().jobs)
    assert len(names) == 15
    assert {"EASGD-tau-64", "EAMSGD-tau-1", "DOWNPOUR-tau-16", "MDOWNPOUR-tau-1", "MSGD-tau-1", "SGD-tau-1"} <= set(
        names
    )
    job = Comparison().jobs["EASGD-tau-16"]
    assert job.algorithm.alpha == pytest.approx(0.9 / (4 * 16))


@pytest.mark.xdist_group("trainer_processes")
def test_runs_are_tabulated_drawn_and_not_done_again(tmp_path):
    seen = []
    table = compare(QUICK, tmp_path, progress=lambda done, total, name: seen.append((done, total, name)))
    assert [name for _, _, name in seen] == list(QUICK.jobs)
    assert seen[-1][:2] == (6, 6)
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["algorithm"] for row in rows] == ["EASGD", "EAMSGD", "DOWNPOUR", "MDOWNPOUR", "MSGD", "SGD"]
    for row, name in zip(rows, QUICK.jobs, strict=True):
        result = json.loads((tmp_path / name / "result.json").read_text())
        assert float(row["test_error"]) == result["test_error"]
        assert row["predicted_stable"] == str(result["predicted"]["stable"])
        assert float(row["communicate_seconds"]) == result["time"]["communicate"]
        measured = curves(tmp_path, name)
        assert measured[-1]["step"] == 10
        assert measured[-1]["train_loss"] == result["train_loss"]
        seconds = [event["seconds"] for event in measured]
        assert seconds == sorted(seconds)
        assert seconds[-1] <= result["seconds"] + 1e-9
    found = compared.measured(tmp_path, "comparison")
    figure = compared.comparison(found)
    drawn = [line for ax in figure.axes for line in ax.lines]
    # Three measures; two periods, with EASGD, EAMSGD, DOWNPOUR in one, MDOWNPOUR in the other.
    assert len(drawn) == 3 * (4 + 2 * 2)
    assert len(compared.times(found).patches) == 4 * 6
    stamps = {name: (tmp_path / name / "result.json").stat().st_mtime_ns for name in QUICK.jobs}
    compare(QUICK, tmp_path)
    assert stamps == {name: (tmp_path / name / "result.json").stat().st_mtime_ns for name in QUICK.jobs}
    with pytest.raises(ValueError, match=r"EASGD-tau-2 in .* is a run of another setup"):
        compare(replace(QUICK, steps=20), tmp_path)
    assert np.isfinite(found.train_loss_at.values[:, 0]).all()


@pytest.mark.xdist_group("trainer_processes")
@pytest.mark.parametrize(
    ("line", "runs"),
    [
        ("comparison --periods 2 --rates 0.1,0.05,0.05,0.001,0.01", ["EASGD", "EAMSGD", "DOWNPOUR", "MSGD", "SGD"]),
        ("schedules --tau 2 --delay 0.01", ["synchronous-alike", "round-robin-alike", "asynchronous-one-slow"]),
    ],
)
def test_the_commands_write_pictures_and_a_report(tmp_path, line, runs):
    shared = f"--data digits --model tiny --workers 2 --steps 10 --batch-size 32 -o {tmp_path} --json"
    command = [sys.executable, "-m", "easgd_cli.main", "validate", *line.split(), *shared.split()]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr
    (finding,) = json.loads(done.stdout)["findings"]
    name = line.split()[0]
    assert finding["name"] == name
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    for run in runs:
        endings = [sentence for sentence in finding["sentences"] if sentence.startswith(run)]
        assert any("predicted" in sentence and "test error" in sentence for sentence in endings)
        assert all(sentence in page for sentence in endings)
    assert {path.name for path in tmp_path.glob("*.svg")} == {f"{name}.svg", f"{name}_times.svg"}
