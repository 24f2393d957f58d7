"""The figures: their data against closed forms and independent loops, their drawings against the data."""

import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import naive
import numpy as np
import pytest
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure

import figures
from easgd_theory import (
    ADMM,
    DOWNPOUR,
    EAMSGD,
    EASGD,
    RoundRobin,
    Synchronous,
    moments,
    spectral_radius,
    stability_condition,
    stability_map,
    stationary_covariance,
)
from easgd_theory.noise import easgd_center_moments
from figures import data, draw, gallery, simulated, style

NAMES = (
    "admm_regions",
    "trajectories",
    "easgd_boundaries",
    "largest_rates",
    "limit_regions",
    "synchronous_error",
    "center_variance",
    "stragglers",
    "double_well_trap",
)


@pytest.fixture(scope="module")
def small():
    """Every dataset, small."""
    return {
        "admm_regions": data.admm_regions(size=24),
        "trajectories": simulated.trajectories(rounds=400),
        "easgd_boundaries": data.easgd_boundaries(size=9),
        "largest_rates": data.largest_rates(workers=(1, 2, 3, 4, 8)),
        "limit_regions": data.limit_regions(size=6, workers=(1, 2, 3, 8)),
        "synchronous_error": data.synchronous_error(size=12, workers=(1, 3), rounds=(1, 2, 10, np.inf)),
        "center_variance": simulated.center_variance(workers=(1, 3, 32), replicas=2000),
        "stragglers": simulated.stragglers(workers=(4, 16), periods=(1, 64), replicas=8),
        "double_well_trap": simulated.double_well_trap(size=6, replicas=60, rounds=5000),
    }


def figure_of(name, dataset):
    drawn = getattr(draw, name)(dataset)
    return drawn if isinstance(drawn, Figure) else drawn.figure


def easgd_grid():
    return stability_map(EASGD(eta=np.linspace(0, 3, 61), alpha=np.linspace(0, 2, 41)), RoundRobin(p=3))


# ---- data ----


def test_figure_1_has_the_papers_example(small):
    regions = small["admm_regions"]
    np.testing.assert_allclose(regions.example_radius, [1.0009738854, 1.0022578979], atol=5e-11)
    assert regions.example_radius.attrs == {"eta": 0.001, "rho": 2.5}


@pytest.mark.parametrize(("p", "i", "j"), [(3, 2, 5), (3, 20, 11), (8, 0, 23)])
def test_figure_1_against_the_papers_matrices(small, p, i, j):
    point = small["admm_regions"].spectral_radius.isel(eta=i, rho=j).sel(p=p)
    step, size = naive.ROUNDS["admm", "round_robin"]
    matrix = naive.round_matrix(step, size(p), p=p, tau=1, h=1.0, eta=float(point.eta), rho=float(point.rho))
    assert float(point) == pytest.approx(naive.spectral_radius(matrix), abs=1e-12)


def test_figure_1_fills_the_open_intervals(small):
    regions = small["admm_regions"]
    assert 0 < regions.eta.min() < regions.eta.max() < 0.01
    assert 0 < regions.rho.min() < regions.rho.max() < 10
    assert set(regions.stable.values.flat) == {True, False}


@pytest.mark.parametrize(("name", "p"), [("ADMM", 3), ("ADMM", 8), ("EASGD", 3), ("EASGD", 8)])
def test_trajectories_are_the_papers_loops(small, name, p):
    center = small["trajectories"].center.sel(algorithm=name, p=p).values
    step, _ = naive.ROUNDS[name.lower(), "round_robin"]
    strength = {"rho": 2.5} if name == "ADMM" else {"alpha": 0.0025}
    state = ([0.0, 1000.0] if name == "ADMM" else [1000.0]) * p + [1000.0]
    expected = [state[-1]]
    for _ in range(400):
        state = step(state, p=p, tau=1, h=1.0, eta=0.001, **strength)
        expected.append(state[-1])
    np.testing.assert_allclose(center, expected, rtol=1e-9)


def test_trajectories_grow_by_the_spectral_radius():
    run = simulated.trajectories(workers=(8,)).sel(algorithm="ADMM", p=8)
    early, late = (float(abs(run.center[t : t + 1000]).max()) for t in (6000, 9000))  # peaks of an oscillation
    assert (late / early) ** (1 / 3000) == pytest.approx(float(run.spectral_radius), abs=5e-5)


def test_odd_boundaries_are_the_papers(small):
    boundaries = small["easgd_boundaries"]
    assert abs(boundaries.excess.sel(p=[1, 3])).max() < 1e-9
    inside = boundaries.isel(eta=slice(1, -1))
    condition = stability_condition(EASGD, RoundRobin())
    assert condition.holds(eta=inside.eta.values, alpha=inside.paper.values - 1e-6).all()
    assert not condition.holds(eta=inside.eta.values, alpha=inside.paper.values + 1e-6).any()


def test_even_boundaries_are_larger_and_nested(small):
    inside = small["easgd_boundaries"].isel(eta=slice(1, -1))
    q = 2 - inside.eta
    exact = (q**2 - 1 + np.sqrt(1 + q**3)) / (q * (1 + q))  # RESULTS.md, R2
    np.testing.assert_allclose(inside.exact.sel(p=2), exact, atol=1e-9)
    assert (inside.excess.sel(p=[2, 4, 8]).diff("p") < 0).all()
    assert (inside.excess.sel(p=8) > 0).all()


def test_downpour_has_its_closed_form_and_easgd_does_not_move(small):
    rates = small["largest_rates"]
    np.testing.assert_allclose(rates.largest_rate.sel(algorithm="DOWNPOUR"), rates.closed_form, atol=1e-6)
    easgd = rates.largest_rate.sel(algorithm="EASGD")  # (4 - 2 e)/(4 - e) = 0.1 at e = 3.6/1.9
    np.testing.assert_allclose(easgd.sel(p=[1, 3]), 3.6 / 1.9, rtol=1e-9)
    np.testing.assert_allclose(easgd, 3.6 / 1.9, rtol=3e-4)


def test_admm_diverges_below_its_threshold(small):
    threshold = small["largest_rates"].admm_threshold
    assert np.isnan(threshold.sel(p=[1, 2])).all()
    for p in (3, 4, 8):
        eta = float(threshold.sel(p=p)) * np.array([0.999, 1.001])
        below, above = spectral_radius(ADMM(eta=eta, rho=2.5), RoundRobin(p=p))
        assert above < 1 < below


def test_regions_move_to_their_limit(small):
    regions = small["limit_regions"]
    limit = regions.sel(p=np.inf)
    np.testing.assert_allclose(limit.easgd, (4 - 2 * regions.rate) / (4 - regions.rate), atol=1e-6)
    np.testing.assert_allclose(regions.easgd.sel(p=[1, 3]) - limit.easgd, 0, atol=1e-6)  # the paper's, for odd p
    assert (regions.easgd.sel(p=[2, 8]).diff("p") < 0).all()
    condition = stability_condition(EAMSGD, RoundRobin(tau=4))  # for all p at once
    for change, holds in ((-1e-4, True), (1e-4, False)):
        edge = limit.eamsgd.where(limit.eamsgd < 1.99, drop=True)  # up to alpha = 2 it is a condition
        assert (condition.holds(eta=edge.momentum_rate.values, alpha=edge.values + change, delta=0.9) == holds).all()
    assert np.isnan(regions.penalty.sel(p=[1, 2])).all()
    assert (regions.penalty.sel(p=[3, 8, np.inf]).diff("p") > 0).all()
    assert float(limit.penalty.max()) == pytest.approx(0.02652677, abs=1e-6)
    assert regions.downpour.values.tolist() == pytest.approx([2, 1, 0.618034, 0.209057, 0], abs=1e-6)


def test_admm_s_limit_is_on_its_curve(small):
    limit = small["limit_regions"].sel(p=np.inf)
    for r, e in zip(limit.penalty.values[:-1], limit.admm.values[:-1], strict=True):  # docs/limit.md, theorem 3
        m = r + e
        t = np.sqrt((m * (r - 2 * e) + 2 * r) / ((2 - m) * (4 + r - 2 * e)))
        assert (2 - m) / m * t + 2 * np.arctan(t) == pytest.approx(2 * np.pi, rel=1e-3)


def test_figure_5_against_propagated_moments(small):
    errors = small["synchronous_error"].mse
    for p, i, j in ((1, 2, 3), (1, 10, 10), (3, 5, 7), (3, 11, 0)):
        point = errors.sel(p=p).isel(beta=i, eta=j)
        rule = EASGD(eta=float(point.eta), alpha=float(point.beta) / p)
        means, covariances = moments(rule, Synchronous(p=p), rounds=10, sigma=10.0)
        for t in (1, 2, 10):
            assert float(point.sel(round=t)) == pytest.approx(means[t, -1] ** 2 + covariances[t, -1, -1], rel=1e-9)


def test_figure_5_in_the_limit(small):
    dataset = small["synchronous_error"]
    limit = dataset.mse.sel(round=np.inf)
    np.testing.assert_array_equal(np.isfinite(limit), dataset.spectral_radius < 1)
    point = limit.sel(p=3).isel(beta=5, eta=4)
    rule = EASGD(eta=float(point.eta), alpha=float(point.beta) / 3)
    covariance = stationary_covariance(rule, Synchronous(p=3), sigma=10.0)
    assert float(point) == pytest.approx(covariance[-1, -1], rel=1e-9)


def test_the_simulated_variance_is_the_theorys(small):
    dataset = small["center_variance"]
    assert (abs(dataset.simulated - dataset.theory) < 4.5 * dataset.error).sum() == 8  # DOWNPOUR diverges at p = 32
    assert np.isnan(dataset.theory.sel(scheme="DOWNPOUR, round-robin")).values.tolist() == [False, False, True]
    for p in (1, 3, 32):
        _, lemma = easgd_center_moments(EASGD(eta=0.05, alpha=0.9 / p), Synchronous(p=p), np.inf)
        assert dataset.theory.sel(scheme="EASGD, synchronous", p=p).item() == pytest.approx(lemma, rel=1e-9)


def test_stragglers_and_large_periods(small):
    end = small["stragglers"].loss.isel(time=-1)
    easgd, downpour = end.sel(algorithm="EASGD"), end.sel(algorithm="DOWNPOUR")
    assert (easgd < 0.005).all()
    assert (easgd < downpour).all()
    assert (downpour.sel(tau=1) < 0.05).all()
    assert (downpour.sel(tau=64) > 10).all()
    assert (small["stragglers"].loss.isel(time=0).sel(tau=64) == 0.5).all()  # nobody has stepped and come back yet


def test_a_value_is_held_until_the_next_round_ends():
    ends, values = np.array([0.0, 1.5, 4.0, np.nan]), np.array([9.0, 8.0, 7.0, np.nan])
    held = simulated._held(ends, values, np.array([0.5, 1.5, 2.0, 4.5, 1e9]))
    assert held.tolist() == [9.0, 8.0, 8.0, 7.0, 7.0]


def test_the_trap_opens_at_two_thirds(small):
    dataset = small["double_well_trap"]
    assert (dataset.even.sel(rho=slice(0, 2 / 3)) > 0).all()
    assert (dataset.even.sel(rho=slice(2 / 3, 1)) == 0).all()
    assert (dataset.even.diff("rho") <= 0).all()  # the same starts at each penalty
    assert (dataset.uneven.sel(p=2) == 0).all()
    four = dataset.uneven.sel(p=4)
    assert four[0] > 0.3  # 8 of 16 splits, where the wells are nearly alone
    assert (four.sel(rho=slice(0.4, 1)) == 0).all()
    assert ((dataset.even + dataset.uneven) <= 1).all()


def test_where_the_trapped_runs_end_is_a_minimum_of_the_elastic_energy():
    rho, p, eta = 0.25, 4, 0.1
    start = np.random.default_rng(0).uniform(-1, 1, (40, p + 1))
    centers, apart = simulated._ends(eta, rho, p, 4000, start[:, :, None])
    for state, center, is_apart in zip(start, centers, apart, strict=True):
        x, c = state[:-1], state[-1]
        for _ in range(4000):
            x, c = x - eta * (x**3 - x) - eta * rho * (x - c), c + eta * rho * (x - c).sum()
        assert center == pytest.approx(c, abs=1e-9)
        assert is_apart == (x.min() < 0 < x.max())


@pytest.mark.parametrize("name", NAMES)
def test_data_carry_version_and_parameters(small, name):
    attributes = small[name].attrs
    assert {"algorithm", "schedule", "easgd_version"} <= set(attributes)
    assert all(isinstance(value, str | int | float) for value in attributes.values())


# ---- drawing ----


@pytest.mark.parametrize("name", NAMES)
def test_the_same_data_give_the_same_bytes(small, name):
    first, again = (style.render(figure_of(name, small[name]), ".svg", dpi=50) for _ in range(2))
    assert first == again
    assert b"<dc:date>" not in first
    assert f"easgd {small[name].attrs['easgd_version']}".encode() in first


def test_the_users_settings_change_nothing():
    plain = style.render(draw.stability_map(easgd_grid()).figure, ".svg")
    with mpl.rc_context({"font.size": 30.0, "lines.linewidth": 9.0, "svg.hashsalt": None}):
        assert style.render(draw.stability_map(easgd_grid()).figure, ".svg") == plain


@pytest.mark.parametrize("name", NAMES)
def test_drawing_computes_nothing(small, name, monkeypatch):
    before = small[name].copy(deep=True)
    monkeypatch.setattr(np.linalg, "eigvals", None)
    figure_of(name, small[name])
    assert small[name].identical(before)


def contours(ax):
    return [artist for artist in ax.collections if isinstance(artist, QuadContourSet)]


def test_a_map_shows_its_values_and_level_1():
    grid = easgd_grid()
    ax = draw.stability_map(grid)
    assert (ax.get_xlabel(), ax.get_ylabel()) == (r"moving rate $\alpha$", r"learning rate $\eta$")
    assert ax.get_title() == "EASGD, round-robin, p = 3, τ = 1, h = 1"
    np.testing.assert_array_equal(ax.collections[0].get_array(), grid.spectral_radius)
    (line,) = contours(ax)
    eta, alpha = np.concatenate(line.allsegs[0])[:, ::-1].T
    np.testing.assert_allclose(alpha, (4 - 2 * eta) / (4 - eta), atol=0.05)  # one cell


def test_a_map_goes_where_and_how_it_is_told():
    ax = Figure().subplots()
    assert draw.stability_map(easgd_grid(), ax, x="eta") is ax
    assert ax.get_xlabel() == r"learning rate $\eta$"
    assert ax.get_xlim() == (0, 3)
    assert draw.stability_map(easgd_grid(), y="alpha").get_xlabel() == r"learning rate $\eta$"


def test_a_map_without_both_sides_has_no_line():
    grid = stability_map(EASGD(eta=[0.1, 0.2], alpha=[0.1, 0.2]), RoundRobin(p=3))
    assert contours(draw.stability_map(grid)) == []


def test_a_map_of_one_dimension_is_a_curve():
    grid = stability_map(DOWNPOUR(eta=np.linspace(0, 2, 21)), RoundRobin(p=8))
    ax = draw.stability_map(grid)
    curve, level = ax.lines
    np.testing.assert_array_equal(curve.get_ydata(), grid.spectral_radius)
    assert list(level.get_ydata()) == [1, 1]
    one_column = stability_map(EASGD(eta=[0.1, 0.2], alpha=[0.5]), RoundRobin(p=3))
    assert draw.stability_map(one_column).get_xlabel() == r"learning rate $\eta$"


def test_maps_that_cannot_be_drawn(refused):
    grid = easgd_grid()
    refused(lambda: draw.stability_map(grid, x="rho"), "eta and alpha", "x='rho'")
    three = stability_map(EASGD(eta=[0.1, 0.2], alpha=[0.1, 0.2]), RoundRobin(p=3), h=[1.0, 2.0])
    refused(lambda: draw.stability_map(three), "got 3: eta, alpha, h")


def test_figures_1_and_5_have_level_1(small):
    for name in ("admm_regions", "synchronous_error"):
        panels = [ax for ax in figure_of(name, small[name]).axes if ax.get_label() != "<colorbar>"]
        assert all(len(contours(ax)) == 1 for ax in panels)


def test_the_words_of_the_paper_stand_in_quotation_marks(small):
    figure = figure_of("trajectories", small["trajectories"])
    assert "“chaotic”" in figure.get_suptitle()
    assert "ADMM diverges" in figure.axes[0].get_legend().get_texts()[0].get_text()


def test_points_stand_on_lines_and_divergence_is_said(small):
    ax = figure_of("center_variance", small["center_variance"]).axes[0]
    assert [text.get_text() for text in ax.texts] == ["DOWNPOUR, round-robin:\ndiverges from $p = 32$ on"]
    for container, line, scheme in zip(
        ax.containers, ax.lines[::2], small["center_variance"].scheme.values, strict=True
    ):
        one = small["center_variance"].sel(scheme=scheme)
        np.testing.assert_array_equal(container.lines[0].get_ydata(), one.simulated)
        np.testing.assert_array_equal(line.get_ydata(), one.theory)


def test_panels_of_stragglers_say_what_diverges(small):
    figure = figure_of("stragglers", small["stragglers"])
    texts = [[text.get_text() for text in ax.texts] for ax in figure.axes]
    assert texts == [[], [], ["DOWNPOUR diverges"], ["DOWNPOUR diverges"]]  # tau = 1 above, 64 below
    assert figure.get_suptitle() == "A quarter of the workers are 10 times slower"


def test_the_trap_has_its_threshold(small):
    ax = figure_of("double_well_trap", small["double_well_trap"]).axes[0]
    assert [2 / 3, 2 / 3] in [list(line.get_xdata()) for line in ax.lines]
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["$p = 2$, split evenly", "$p = 4$, split evenly", "$p = 4$, more in one well"]


def test_the_missing_thresholds_are_named(small):
    texts = figure_of("largest_rates", small["largest_rates"]).axes[1].texts
    assert [text.get_text() for text in texts] == ["$p$ = 1, 2: none, stable down to 0"]


# ---- files ----


def test_save_writes_both_files_and_nothing_else(tmp_path):
    figure = draw.stability_map(easgd_grid()).figure
    assert style.save(figure, tmp_path / "a.b") == (tmp_path / "a.b.png", tmp_path / "a.b.svg")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.b.png", "a.b.svg"]
    assert b"easgd " in (tmp_path / "a.b.png").read_bytes()


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "old.png"
    path.write_bytes(b"old")
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(OSError, match="disk"):
        style.write(draw.stability_map(easgd_grid()).figure, path)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"old"]


def test_other_suffixes_are_refused(refused):
    refused(lambda: style.write(Figure(), "region.gif"), "'.gif'", ".png, .svg or .pdf")


def test_gallery_writes_small_pictures(tmp_path, monkeypatch, capsys, small):
    monkeypatch.setattr(gallery, "PICTURES", {"one": lambda: figure_of("admm_regions", small["admm_regions"])})
    gallery.main(tmp_path / "new")
    picture = tmp_path / "new" / "one.png"
    assert capsys.readouterr().out == f"{picture}\n"
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_gallery_is_complete_and_small():
    pictures = {path.stem: path.stat().st_size for path in gallery.FOLDER.iterdir()}
    assert set(pictures) == set(gallery.PICTURES)
    assert max(pictures.values()) < 100_000


# ---- imports ----


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import figures", ("matplotlib", "xarray", "numpy")),
        ("import figures; figures.save", ("matplotlib.pyplot", "sympy")),
        ("from figures import draw, data", ("matplotlib.pyplot", "sympy")),
    ],
)
def test_imports_are_lazy(statement, absent):
    code = f"import sys; {statement}; print([name for name in {absent!r} if name in sys.modules])"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert output.stdout.strip() == "[]"


def test_unknown_names():
    assert "draw" in dir(figures)
    with pytest.raises(AttributeError, match="nothing"):
        _ = figures.nothing
