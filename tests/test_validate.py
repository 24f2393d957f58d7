"""`validate` on a small network: what it calls predicted is so, a wrong rule is told apart, the point is stationary."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_trainer_measured import ElasticAfter

from easgd_theory import (
    DOWNPOUR,
    EASGD,
    LocalSGD,
    RoundRobin,
    Synchronous,
    iteration_map,
    spectral_radius,
)
from gpu_trainer import modes, validate
from gpu_trainer import site as places
from gpu_trainer.catalogue import SCALED, ModeCase, at_curvature
from gpu_trainer.edge import EdgeCase, EdgeCheck
from gpu_trainer.fate import Cell, FateCheck, SettlingCheck, Start, admm_grid, easgd_grid
from gpu_trainer.measured import measured_map
from gpu_trainer.modes import GrowthCheck, MapCheck
from gpu_trainer.site import EIGENVECTORS, Site, network_of, prepare

SITE = Site(images=16, steps=60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("site")


@pytest.fixture(scope="module")
def ground(folder):
    return prepare(SITE, folder)


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


# The point


def test_the_point_is_stationary_and_its_eigenpairs_are_those_of_the_hessian(ground):
    """By differences of the gradient alone."""
    gradient, point = ground.stationary()
    assert float(gradient(point).norm()) == 0.0
    assert ground.slope > 1e-3  # there was something to subtract
    assert [float(h) for h in ground.h[[0, 3]]] == [ground.values[-1], ground.values[0]]
    assert ground.h[1] == pytest.approx(ground.h_max / 2, rel=0.5)
    assert abs(ground.h[2]) == np.abs(ground.values).min()
    for h, vector in zip(ground.h, ground.vectors, strict=True):
        d = torch.from_numpy(vector)
        image = (gradient(point + 1e-5 * d) - gradient(point - 1e-5 * d)) / 2e-5
        np.testing.assert_allclose(image, h * vector, rtol=0, atol=1e-7 * ground.h_max)


def test_training_led_downhill(ground):
    network = network_of(SITE)
    assert network.loss(torch.from_numpy(ground.point)) < 0.5 * network.loss(network.start)


def test_what_was_found_is_kept(folder, ground):
    again = prepare(SITE, folder)
    for name in ("point", "slope", "values", "h", "residuals", "vectors"):
        np.testing.assert_array_equal(getattr(again, name), getattr(ground, name))
    assert [path.name for path in folder.iterdir()] == [SITE.name]
    assert SITE.name != replace(SITE, seed=2).name


def test_beyond_a_dense_hessian_lanczos_serves(folder, ground, monkeypatch, tmp_path):
    monkeypatch.setattr(places, "LARGEST_DENSE", 100)
    found = prepare(SITE, tmp_path)
    np.testing.assert_allclose(found.h[[0, 3]], ground.h[[0, 3]], rtol=0, atol=1e-8 * ground.h_max)
    assert found.residuals.max() < 1e-8 * ground.h_max
    distances = np.abs(found.values[:, None] - ground.values).min(axis=1)
    assert distances.max() < 1e-8 * ground.h_max
    assert 4 < len(found.values) < len(ground.values)
    _, counts = found.counted()
    assert counts.sum() == pytest.approx(len(ground.point))
    assert {found.values[0], found.values[-1]} <= set(found.curvatures())


def test_what_cannot_be_is_refused(tmp_path, refused):
    refused(lambda: Site(steps=-1), "steps", "at least 0", "-1")
    refused(lambda: prepare(Site(images=10**6), tmp_path), "from 1 to 1437", "1000000")
    refused(lambda: prepare(Site(data="digit"), tmp_path), "data must be one of", "'digit'")


def test_a_rule_in_units_of_the_curvature_has_the_same_radius():
    for rules in SCALED:
        for rule in rules:
            expected = spectral_radius(rule, RoundRobin(p=3), h=1.0)
            assert spectral_radius(at_curvature(rule, 7.0), RoundRobin(p=3), h=7.0) == pytest.approx(
                expected, rel=1e-12
            )


def test_of_two_rules_one_is_stable_and_one_mostly_is_not():
    """By eigenvalues of the matrices."""
    schedules = [kind(p=p, tau=tau) for kind in (Synchronous, RoundRobin) for p in (2, 4, 8) for tau in (1, 4)]
    for calm, wild in SCALED:
        defined = [each for each in schedules if each.tau == 1 or "tau" not in calm.requires_one]
        curvatures = np.linspace(0.05, 1, 20)
        for schedule in defined:
            matrices = [iteration_map(calm, schedule, h=h).matrix for h in curvatures]
            assert np.abs(np.linalg.eigvals(matrices)).max() < 1
        radii = [np.abs(np.linalg.eigvals(iteration_map(wild, each, h=1.0).matrix)).max() for each in defined]
        assert sum(radius > 1 for radius in radii) > len(defined) / 2


# The map


SMALL_MAP = MapCheck(site=SITE, workers=(2,), periods=(1, 4), eigenvectors=("top", "lowest"))


def test_every_algorithm_has_its_map(folder, ground):
    rows = read(validate(SMALL_MAP, folder, processes=1))
    assert len(rows) == 48
    assert {row["agrees"] for row in rows} == {"True"}
    assert {row["algorithm"] for row in rows} == {type(rules[0]).__name__ for rules in SCALED}
    assert max(float(row["error"]) for row in rows) < 1e-6
    tops = np.array([float(row["predicted"]) for row in rows if row["eigenvector"] == "top"])
    assert (tops > 1.01).sum() >= 6
    assert (tops < 0.99).sum() >= 6
    first = rows[0]
    rule = EASGD(eta=0.5 / ground.h_max, alpha=0.1)
    assert float(first["predicted"]) == pytest.approx(spectral_radius(rule, Synchronous(p=2), h=ground.h_max), rel=1e-9)


def test_a_wrong_rule_is_caught_by_the_sweep(folder, tmp_path, monkeypatch, ground):
    """Where the trainer runs it in the place of EASGD, whose rows then are far off; the others' are not."""

    def wrong_for_easgd(rule, *rest, **options):
        runs = ElasticAfter(rule.eta, rule.alpha) if type(rule) is EASGD else rule
        return measured_map(runs, *rest, **options)

    monkeypatch.setattr(modes, "measured_map", wrong_for_easgd)
    (tmp_path / SITE.name).write_bytes((folder / SITE.name).read_bytes())
    check = replace(SMALL_MAP, periods=(1,), eigenvectors=("top",))
    rows = read(validate(check, tmp_path, processes=1))
    wrong = {row["algorithm"] for row in rows if row["agrees"] == "False"}
    assert wrong == {"EASGD"}
    assert all(float(row["error"]) > 100 * modes.ENTRY for row in rows if row["algorithm"] == "EASGD")


def test_a_table_of_another_site_is_refused(folder, refused):
    validate(SMALL_MAP, folder, processes=1)  # complete by now, or made here
    other = replace(SMALL_MAP, site=replace(SITE, steps=50))
    refused(lambda: validate(other, folder, processes=1), "map.csv", "steps is 60, not 50", "another directory")


# Growth


@pytest.mark.parametrize(
    ("rule", "schedule", "expected"),
    [
        (LocalSGD(eta=0.5), Synchronous(p=2, tau=3), 0.125),  # (1 - eta h)^tau
        (LocalSGD(eta=2.2), Synchronous(p=2), 1.2),
        (DOWNPOUR(eta=0.05), Synchronous(p=2), 0.9),  # 1 - p eta h
    ],
    ids=str,
)
def test_growth_is_that_of_the_closed_form(ground, rule, schedule, expected):
    row = GrowthCheck(site=SITE).measure(ground, ModeCase(rule, schedule, "top"))
    assert row["predicted"] == pytest.approx(expected, rel=1e-9)
    if row["left_out"]:
        assert (row["left_out"], row["rounds"] < 12) == ("too fast for the linear regime", True)
    else:
        assert np.log(row["measured"]) == pytest.approx(np.log(expected), rel=1e-4)
        assert row["agrees"]


def test_growth_of_two_close_roots_is_followed_to_both(ground):
    """EASGD beyond its edge, round-robin: the dominant root against the eigenvalues of plain 3 x 3 products."""
    tick = [np.array([[1 - 1.9 - 0.3, 0, 0.3], [0, 1, 0], [0.3, 0, 0.7]])]
    tick.append(tick[0][np.ix_([1, 0, 2], [1, 0, 2])])
    expected = np.abs(np.linalg.eigvals(tick[1] @ tick[0])).max()
    row = GrowthCheck(site=SITE).measure(ground, ModeCase(EASGD(eta=1.9, alpha=0.3), RoundRobin(p=2), "top"))
    assert row["predicted"] == pytest.approx(expected, rel=1e-9)
    assert row["measured"] == pytest.approx(expected, rel=1e-5)


def test_what_is_left_out_has_a_reason(ground):
    check = GrowthCheck(site=SITE, rounds=50)
    slow = check.measure(ground, ModeCase(EASGD(eta=0.5, alpha=0.1), Synchronous(p=2), "near zero"))
    assert (slow["left_out"], slow["agrees"], slow["rounds"]) == ("hardly any growth is predicted", False, 0)


def test_a_run_ends_where_a_faster_direction_takes_over(ground):
    """Along the lowest eigenvector, while rounding grows by 2.1 a round along the top."""
    row = GrowthCheck(site=SITE).measure(ground, ModeCase(DOWNPOUR(eta=2.1), RoundRobin(p=2), "lowest"))
    needed = np.log(1e-4 / 1e-8) / np.log(row["predicted"])
    assert 12 <= row["rounds"] < np.log(1e-8 / 1e-17) / np.log(2.1) < needed
    assert row["measured"] == pytest.approx(row["predicted"], rel=1e-4)


# Fate


def test_easgd_leaves_where_the_closed_form_says(ground):
    """MATH: synchronous EASGD is stable iff alpha < 2 (2 - eta h) / (2 + p (2 - eta h))."""
    grid = easgd_grid(size=4, rounds=60)
    check = FateCheck(site=SITE, grids=(grid,))
    rows = [check.measure(ground, cell) for cell in check.cases()]
    assert {row["measured"] for row in rows} == {True, False}
    for cell, row in zip(check.cases(), rows, strict=True):
        left = 2 - cell.rate
        margin = cell.coupling * (2 + 4 * left) / (2 * left) if left > 0 else np.inf
        assert row["agrees"]
        if not 0.8 < margin < 1.25:
            assert row["measured"] == (margin > 1)
        assert row["left_at"] <= 60 or np.isnan(row["left_at"])


def test_the_distance_is_predicted_where_runs_stay(ground):
    grid = admm_grid(size=4, rounds=40)
    cell = Cell(grid, rate=0.5, coupling=0.5)
    row = FateCheck(site=SITE, grids=(grid,)).measure(ground, cell)
    assert row["distance"] == pytest.approx(row["predicted_distance"], rel=0.5)
    start = Start.at(ground)
    assert start.weights.sum() == pytest.approx(1.0)
    assert Start.direction(ground, 3).norm() == pytest.approx(1.0)
    matrices = [iteration_map(cell.rule, grid.schedule, h=h).matrix for h in start.curvatures]
    x = [1, 3, 5, 7, 8]
    parts = [np.linalg.norm(np.linalg.matrix_power(m, 40)[np.ix_(x, x)]) ** 2 / 5 for m in matrices]
    assert row["predicted_distance"] == pytest.approx(np.sqrt(np.dot(parts, start.weights)), rel=1e-9)


@pytest.mark.parametrize(
    ("rate", "coupling", "near"), [(1.0, 0.5, False), (1.0, 0.1, False), (0.2, 0.405, True)], ids=str
)
def test_the_band_is_where_five_percent_change_the_prediction(ground, rate, coupling, near):
    grid = easgd_grid(size=1, rounds=200)
    row = FateCheck(site=SITE, grids=(grid,)).measure(ground, Cell(grid, rate, coupling))
    assert row["near_edge"] == near


def test_runs_with_mini_batches_stay_or_do_not(ground):
    grid = easgd_grid(size=1, rounds=30)
    check = SettlingCheck(site=SITE, grids=(grid,), batch=8)
    calm = check.measure(ground, Cell(grid, 0.1, 0.1))
    assert (calm["fate"], calm["predicted_growth"] < 1.01) == ("stayed", True)
    assert calm["h_max_at_last"] == pytest.approx(ground.h_max, rel=0.5)
    wild = check.measure(ground, Cell(replace(grid, rounds=60), 2.4, 0.6))
    assert wild["fate"] == "blew up"
    assert wild["loss_at_last"] > 230 or wild["moved"] > 10  # 100 times what guessing costs
    assert np.isnan(wild["h_max_at_last"])


def test_the_edge_has_its_bound_from_the_closed_form(ground):
    """MATH: (2 - eta h)(2 - p alpha) > 2 alpha."""
    row = EdgeCheck(site=SITE, rate=1.5, rounds=20).measure(ground, EdgeCase(p=4, alpha=0.2))
    assert row["bound"] * row["eta"] == pytest.approx(2 - 2 * 0.2 / (2 - 4 * 0.2), rel=1e-6)
    curvatures, losses = ([float(value) for value in row[name].split()] for name in ("h_max", "loss"))
    assert len(curvatures) == len(losses) == 3
    assert curvatures[0] * row["eta"] == pytest.approx(1.5, rel=1e-3)
    assert losses[-1] < losses[0]


def test_the_kinds_of_eigenvectors_are_known():
    assert set(SMALL_MAP.eigenvectors) <= set(EIGENVECTORS)
