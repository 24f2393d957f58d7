"""The documents keep their promises: their Python runs, and prints what they say."""

import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from easgd_cli.main import cli

ROOT = Path(__file__).parent.parent


def python_blocks(name):
    return re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), flags=re.DOTALL)


def test_readme_prints_what_it_says(capsys):
    names = {}
    for block in python_blocks("README.md"):
        exec(block, names)
    printed = capsys.readouterr().out.splitlines()
    promised = re.findall(r"^print\(.*\) +# (.*)$", "\n".join(python_blocks("README.md")), flags=re.MULTILINE)
    assert len(printed) == len(promised) == 8
    for line, promise in zip(printed, promised, strict=True):
        assert line.startswith(promise.split("...")[0])


def test_the_page_on_simulations_prints_what_it_says(capsys):
    block = "\n".join(python_blocks("docs/simulations.md"))
    exec(block, names := {})
    printed = capsys.readouterr().out.splitlines()
    promised = re.findall(r"^print\(.*\) +# (.*)$", block, flags=re.MULTILINE)
    assert len(printed) == len(promised) == 2
    for line, promise in zip(printed, promised, strict=True):
        assert line.startswith(promise.split("...")[0])
    assert names["run"].time.shape == names["run"].loss.shape == (1, 101)


def test_the_page_on_simulations_shows_what_the_command_prints():
    text = (ROOT / "docs/simulations.md").read_text()
    line, promised = re.search(r"\$ easgd (simulate admm .*)\n((?:.+\n)+?)```", text).groups()
    printed = CliRunner().invoke(cli, line.split()).stdout
    assert printed.startswith(promised)


def test_the_page_on_training_trains(capsys):
    run, script, prediction = python_blocks("docs/trainer.md")
    names = {}
    exec(run, names)
    assert capsys.readouterr().out == "False diverged\n"
    exec(script, names)
    error = re.fullmatch(r"test error of the center: (.*)%\n", capsys.readouterr().out)
    assert float(error[1]) < 3
    exec(prediction, names)
    assert capsys.readouterr().out == "False\n"


def test_contributing_adds_a_rule_in_one_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    definition, questions, picture = python_blocks("CONTRIBUTING.md")
    (tmp_path / "elastic_after.py").write_text(definition)
    monkeypatch.syspath_prepend(tmp_path)
    names = {}
    exec("from elastic_after import ElasticAfter\n" + questions + picture, names)

    eta, alpha = 0.1, 0.9  # the elastic step acts on the stepped worker: (1 - alpha)(1 - eta h), not 1 - alpha - eta h
    rule = names["ElasticAfter"](eta=eta, alpha=alpha)
    expected = [[(1 - alpha) * (1 - eta), alpha], [alpha * (1 - eta), 1 - alpha]]
    one_worker = names["iteration_map"](rule, names["RoundRobin"](p=1), h=1.0)
    np.testing.assert_allclose(one_worker.matrix, expected, atol=1e-15)

    # Synchronous, p = 4, stable below 2 (1 + g) / (p + (p + 2) g), g = 1 - eta h
    g = 1 - eta
    ((low, high),) = names["stable_intervals"]("alpha", names["ElasticAfter"](eta=eta), names["Synchronous"](p=4))
    assert (low, high) == (0.0, pytest.approx(2 * (1 + g) / (4 + 6 * g), rel=1e-9))
    assert names["grid"].sizes == {"eta": 64, "alpha": 64}
    assert (tmp_path / "elastic_after.png").stat().st_size > 10_000


def test_the_readme_links_to_files_that_exist():
    for document in (
        "README.md",
        "CONTRIBUTING.md",
        "docs/theory.md",
        "docs/theorems.md",
        "docs/limit.md",
        "docs/intervals.md",
        "docs/benchmarks.md",
        "docs/simulations.md",
    ):
        for target in re.findall(r"\]\(([^)#:]+)[^):]*\)", (ROOT / document).read_text()):
            assert (ROOT / document).parent.joinpath(target).exists(), f"{document}: {target}"
