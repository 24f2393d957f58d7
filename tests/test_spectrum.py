"""Spectral radii against the naive loops, the meaning of "stable" on the boundary, shapes, and bad input."""

import warnings

import naive
import numpy as np
import pytest
import sympy
from cases import SCHEDULES, Case

from easgd_theory import (
    ADMM,
    DOWNPOUR,
    EAMSGD,
    EASGD,
    MDOWNPOUR,
    MSGD,
    SGD,
    DiLoCo,
    LocalSGD,
    Lookahead,
    RoundRobin,
    Synchronous,
    is_stable,
    iteration_map,
    spectral_radius,
)

nan, inf = float("nan"), float("inf")
ONE = Synchronous(p=1)


# Numbers that the paper's section 4 and MATH.md fix


@pytest.mark.parametrize(
    ("p", "radius", "tolerance"),
    [
        (1, 0.9990025, 5e-8),
        (2, 0.9990019, 5e-8),
        (3, 1.000973885408, 1e-12),
        (8, 1.00225786618, 1e-12),
        (16, 1.0023032, 5e-8),
    ],
)
def test_admm_in_the_papers_example(p, radius, tolerance):
    assert spectral_radius(ADMM(eta=1e-3, rho=2.5), RoundRobin(p=p)) == pytest.approx(radius, rel=0, abs=tolerance)
    assert is_stable(ADMM(eta=1e-3, rho=2.5), RoundRobin(p=p)) is (p < 3)


def test_admm_has_no_spurious_eigenvalue_at_one():
    assert spectral_radius(ADMM(eta=0.5, rho=1.0), RoundRobin(p=4)) < 0.99


def test_each_step_of_admm_alone_is_stable():
    for part in naive.paper_admm_maps(3, 0, eta=1e-3, rho=2.5):
        assert naive.spectral_radius(part) <= 1 + 1e-12


@pytest.mark.parametrize(
    ("algorithm", "schedule", "h", "expected"),
    [
        pytest.param(EASGD(eta=1.0, alpha=2 / 3), RoundRobin(p=3), 1.0, 1.0, id="easgd-p3-edge"),
        pytest.param(EASGD(eta=1.0, alpha=0.5**0.5), RoundRobin(p=2), 1.0, 1.0, id="easgd-p2-edge"),
        pytest.param(SGD(eta=0.5), ONE, 3.0, 0.5, id="sgd"),
        pytest.param(SGD(eta=0.5), Synchronous(p=1, tau=3), 3.0, 0.125, id="sgd-tau"),
        pytest.param(LocalSGD(eta=0.5), Synchronous(p=7, tau=3), 1.0, 0.125, id="local_sgd"),
        pytest.param(Lookahead(0.1, 0.5), Synchronous(p=1, tau=5), 1.0, 1 - 0.5 * (1 - 0.9**5), id="lookahead"),
    ],
)
def test_radii_known_in_closed_form(algorithm, schedule, h, expected):
    assert spectral_radius(algorithm, schedule, h) == pytest.approx(expected, rel=1e-12)


def test_the_papers_lemma_7_4_needs_the_radius_not_the_norm():
    algorithm = EASGD(eta=0.1, alpha=0.9 / 4)  # MATH.md, section 4: the norm is 1.146, beyond the lemma's bound
    assert spectral_radius(algorithm, Synchronous(p=4)) == pytest.approx(0.9215, abs=5e-5)


# Random parameters against tick-by-tick composition: to 1e-7 relative, as issue 2 asks


def random_algorithms(kind, n, random):
    """`n` records of uniformly drawn values and their curvatures, negative ones too."""
    eta, h = random.uniform(0, 1.5, n), random.uniform(-0.5, 2.5, n)
    more = {
        EASGD: {"alpha": random.uniform(-0.3, 1.5, n)},
        EAMSGD: {"alpha": random.uniform(-0.3, 1.5, n), "delta": random.uniform(0, 1.1, n)},
        ADMM: {"rho": 10 ** random.uniform(-2, 1, n)},
        DOWNPOUR: {},
    }[kind]
    return kind(eta=eta, **more), h


@pytest.mark.parametrize(
    ("kind", "tau"),
    [(EASGD, 1), (EASGD, 3), (EAMSGD, 1), (EAMSGD, 3), (DOWNPOUR, 1), (DOWNPOUR, 3), (ADMM, 1)],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("p", [1, 2, 3, 5, 8, 13])
def test_the_radius_at_random_parameters_is_the_naive_one(kind, tau, schedule, p):
    algorithm, h = random_algorithms(kind, 12, np.random.default_rng([p, tau]))
    found = spectral_radius(algorithm, schedule(p=p, tau=tau), h)
    for i, curvature in enumerate(h):
        values = {name: float(getattr(algorithm, name)[i]) for name in kind.parameters()}
        case = Case(kind(**values), schedule(p=p, tau=tau), float(curvature), "random")
        expected = naive.spectral_radius(case.naive_matrix())
        assert found[i] == pytest.approx(expected, rel=1e-7), case


# Many workers, where dense eigenvalues are not the way


@pytest.mark.parametrize(
    ("kind", "tau"),
    [(EASGD, 1), (EASGD, 3), (EAMSGD, 1), (EAMSGD, 3), (DOWNPOUR, 1), (DOWNPOUR, 3), (ADMM, 1)],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_the_radius_of_many_workers_is_that_of_the_composed_map(kind, tau):
    algorithm, h = random_algorithms(kind, 100, np.random.default_rng([60, tau]))
    found = spectral_radius(algorithm, RoundRobin(p=60, tau=tau), h)
    for i in range(0, 100, 5):
        values = {name: float(getattr(algorithm, name)[i]) for name in kind.parameters()}
        matrix = iteration_map(kind(**values), RoundRobin(p=60, tau=tau), float(h[i])).matrix
        assert found[i] == pytest.approx(naive.spectral_radius(matrix), rel=1e-7), values


@pytest.mark.parametrize("p", [101, 301, 1001])
def test_easgds_edge_does_not_move_with_the_number_of_workers(p):
    assert spectral_radius(EASGD(eta=1.0, alpha=2 / 3), RoundRobin(p=p)) == pytest.approx(1, abs=1e-9)
    assert spectral_radius(EASGD(eta=1.0, alpha=0.66), RoundRobin(p=p)) < 1 - 1e-3
    assert is_stable(EASGD(eta=1.0, alpha=0.5), RoundRobin(p=p), strict=True)


@pytest.mark.parametrize("p", [100, 300])
def test_downpours_edge_shrinks_with_the_number_of_workers(p):
    edge = 2 * np.sin(np.pi / (2 * (2 * p - 1)))
    assert spectral_radius(DOWNPOUR(eta=edge), RoundRobin(p=p)) == pytest.approx(1, abs=1e-9)
    assert is_stable(DOWNPOUR(eta=edge * (1 - 1e-6)), RoundRobin(p=p), strict=True)
    assert not is_stable(DOWNPOUR(eta=edge * (1 + 1e-6)), RoundRobin(p=p))


def test_r11_admm_for_ever_more_workers():
    fewer, more = (spectral_radius(ADMM(eta=1e-3, rho=2.5), RoundRobin(p=p)) for p in (300, 600))
    assert 2 * more - fewer == pytest.approx(1.0022427, abs=1e-7)  # the error falls like 1/p


def test_whether_one_point_is_stable_does_not_depend_on_the_others():
    flat, wild = 0.0, 20.0
    stable = is_stable(EASGD(eta=0.5, alpha=0.3), RoundRobin(p=300, tau=10), h=[flat, wild])
    assert stable.tolist() == [True, False]


@pytest.mark.parametrize("p", [2, 100, 300])
@pytest.mark.parametrize(
    "algorithm",
    [
        EASGD(0.5, 0.3),
        EAMSGD(0.5, 0.3, 0.9),
        DOWNPOUR(0.5),
        MDOWNPOUR(0.5, 0.9),
        DiLoCo(0.5, 0.7, 0.9),
    ],
    ids=["easgd", "eamsgd", "downpour", "mdownpour", "diloco"],
)
def test_flat_directions_stay_bounded_for_any_number_of_workers(algorithm, p):
    assert is_stable(algorithm, RoundRobin(p=p), h=0.0) is True
    assert is_stable(algorithm, RoundRobin(p=p), h=0.0, strict=True) is False


@pytest.mark.parametrize("p", [3, 8])
def test_both_colours_of_figure_1_are_there(p):
    eta, rho = np.linspace(0, 0.01, 16)[:, None], np.linspace(0, 10, 16)
    radius = spectral_radius(ADMM(eta=eta, rho=rho), RoundRobin(p=p))
    assert 0.1 < np.mean(radius > 1 + 1e-9) < 0.9


# Shapes


def test_scalars_give_a_float_and_a_bool():
    assert type(spectral_radius(EASGD(eta=1, alpha=np.float64(0.5)), RoundRobin(p=2), h=np.array(1.0))) is float
    assert type(is_stable(EASGD(eta=1, alpha=0.5), RoundRobin(p=2))) is bool
    assert type(spectral_radius(EASGD(eta=1, alpha=0.5), RoundRobin(p=2), h=[1.0, 2.0], over_spectrum=True)) is float
    assert type(is_stable(EASGD(eta=1, alpha=0.5), RoundRobin(p=2), h=[1.0, 2.0], over_spectrum=True)) is bool


def test_every_real_number_type_is_a_number():
    expected = spectral_radius(SGD(eta=0.5), ONE, h=3.0)
    for half in (np.float32(0.5), np.array(0.5), sympy.Rational(1, 2), sympy.Float(0.5)):
        assert spectral_radius(SGD(eta=half), ONE, h=3) == expected


@pytest.mark.parametrize(
    "schedule", [RoundRobin(p=3, tau=2), Synchronous(p=3, tau=2)], ids=["round_robin", "synchronous"]
)
def test_parameters_and_h_broadcast(schedule):
    eta, alpha, h = np.array([[[0.1]], [[1.2]]]), np.array([[0.1], [0.2], [0.8]]), np.array([0.5, 1.0, 2.0, -1.0])
    radius, stable = spectral_radius(EASGD(eta, alpha), schedule, h), is_stable(EASGD(eta, alpha), schedule, h)
    assert radius.shape == stable.shape == (2, 3, 4)
    assert stable.dtype == bool
    for index in np.ndindex(2, 3, 4):
        i, j, k = index
        one = EASGD(float(eta[i, 0, 0]), float(alpha[j, 0]))
        assert radius[index] == pytest.approx(spectral_radius(one, schedule, float(h[k])), rel=1e-12)
        assert stable[index] == is_stable(one, schedule, float(h[k]))


def test_large_grids_are_computed_in_parts():
    alpha = np.linspace(0.01, 1.2, 40_001)  # more matrices than fit one part
    radius = spectral_radius(EASGD(eta=0.5, alpha=alpha), RoundRobin(p=8))
    assert radius.shape == (40_001,)
    for i in (0, 20_000, 40_000):
        assert radius[i] == pytest.approx(spectral_radius(EASGD(0.5, float(alpha[i])), RoundRobin(p=8)), rel=1e-12)


def test_an_empty_array_gives_an_empty_array():
    assert spectral_radius(EASGD(eta=[], alpha=0.1), RoundRobin(p=2)).shape == (0,)
    assert spectral_radius(EASGD(eta=np.ones((3, 0)), alpha=0.1), RoundRobin(p=2)).shape == (3, 0)


@pytest.mark.parametrize(
    ("eta", "h", "shape"),
    [((), (5,), ()), ((3,), (5,), (3,)), ((3,), (3, 5), (3,)), ((2, 1), (3, 5), (2, 3)), ((2, 3), (2, 3, 5), (2, 3))],
    ids=str,
)
def test_over_spectrum_takes_the_maximum_over_the_last_axis_of_h(eta, h, shape):
    random = np.random.default_rng(1)
    etas, spectrum = random.uniform(0.1, 1.5, eta), random.uniform(0.1, 2.0, h)
    algorithm = EASGD(eta=etas, alpha=0.3)
    found = spectral_radius(algorithm, RoundRobin(p=3), spectrum, over_spectrum=True)
    expected = spectral_radius(EASGD(eta=etas[..., None], alpha=0.3), RoundRobin(p=3), spectrum).max(axis=-1)
    assert np.shape(found) == shape
    np.testing.assert_allclose(found, expected, rtol=1e-13)
    stable = is_stable(algorithm, RoundRobin(p=3), spectrum, over_spectrum=True, strict=True)
    np.testing.assert_array_equal(stable, expected < 1)


# What "stable" means


@pytest.mark.parametrize(
    ("algorithm", "schedule", "h", "bounded", "converges"),
    [
        pytest.param(EASGD(1.0, 0.5), RoundRobin(p=3), 1.0, True, True, id="inside"),
        pytest.param(EASGD(1.0, 0.7), RoundRobin(p=3), 1.0, False, False, id="outside"),
        pytest.param(EASGD(1.0, 2 / 3), RoundRobin(p=3), 1.0, True, False, id="easgd-edge_alpha"),
        pytest.param(EASGD(2.0, 0.0), RoundRobin(p=3), 1.0, True, False, id="easgd-edge_eta"),
        pytest.param(EASGD(1.0, 0.0), RoundRobin(p=3), 1.0, True, False, id="easgd-alpha_0"),
        pytest.param(EASGD(0.0, 0.5), RoundRobin(p=3), 1.0, True, False, id="easgd-eta_0"),
        pytest.param(EASGD(0.0, 0.0), RoundRobin(p=3), 1.0, True, False, id="easgd-identity"),
        pytest.param(EASGD(1.0, 0.5), RoundRobin(p=8), 0.0, True, False, id="easgd-h_0"),
        pytest.param(EASGD(1.0, 0.1), Synchronous(p=8), 0.0, True, False, id="easgd-synchronous-h_0"),
        pytest.param(EASGD(1.0, 0.5), Synchronous(p=2), 1.0, True, False, id="easgd-synchronous-edge"),
        pytest.param(SGD(2.0), ONE, 1.0, True, False, id="sgd-edge"),
        pytest.param(SGD(1.0), ONE, 0.0, True, False, id="sgd-h_0"),
        pytest.param(MSGD(1.0, 0.9), ONE, 0.0, True, False, id="msgd-h_0"),
        pytest.param(MSGD(1.0, 1.0), ONE, 0.0, False, False, id="msgd-delta_1-h_0-jordan_block"),
        pytest.param(MSGD(1.0, -1.0), ONE, 0.0, True, False, id="msgd-delta_-1-h_0"),
        pytest.param(MSGD(4 / 3, 1.0), ONE, 1.0, True, False, id="msgd-edge"),
        pytest.param(EAMSGD(1.0, 0.5, 1.0), RoundRobin(p=3), 0.0, False, False, id="eamsgd-delta_1-h_0"),
        pytest.param(EAMSGD(1.0, 0.5, 0.9), RoundRobin(p=3), 0.0, True, False, id="eamsgd-h_0"),
        pytest.param(DOWNPOUR(1.0), RoundRobin(p=3), 0.0, True, False, id="downpour-h_0"),
        pytest.param(DOWNPOUR(1.0), RoundRobin(p=3, tau=3), 0.0, True, False, id="downpour-tau-h_0"),
        pytest.param(DOWNPOUR(1.0), Synchronous(p=3), 0.0, True, False, id="downpour-synchronous-h_0"),
        pytest.param(DOWNPOUR(2 * np.sin(np.pi / 10)), RoundRobin(p=3), 1.0, True, False, id="downpour-edge"),
        pytest.param(MDOWNPOUR(1.0, 0.9), RoundRobin(p=3), 0.0, True, False, id="mdownpour-h_0"),
        pytest.param(MDOWNPOUR(1.0, 1.0), RoundRobin(p=3), 0.0, False, False, id="mdownpour-delta_1-h_0"),
        pytest.param(MDOWNPOUR(1 / 9, 0.9), RoundRobin(p=2), 1.0, True, False, id="mdownpour-edge"),
        pytest.param(LocalSGD(1.0), Synchronous(p=3), 0.0, True, False, id="local_sgd-h_0"),
        pytest.param(DiLoCo(1.0, 0.7, 0.9), Synchronous(p=3), 0.0, True, False, id="diloco-h_0"),
        pytest.param(DiLoCo(1.0, 0.7, 1.0), Synchronous(p=3), 0.0, False, False, id="diloco-mu_1-h_0"),
        pytest.param(Lookahead(1.0, 0.5), ONE, 0.0, True, False, id="lookahead-h_0"),
        pytest.param(SGD(0.1), ONE, -0.01, False, False, id="negative_curvature"),
    ],
)
def test_stable_is_bounded_and_strictly_stable_is_convergent(algorithm, schedule, h, bounded, converges):
    assert is_stable(algorithm, schedule, h) is bounded
    assert is_stable(algorithm, schedule, h, strict=True) is converges
    growth = growth_in_many_rounds(algorithm, schedule, h)  # and the naive loops do what is said
    assert (growth < 1e3) is bounded
    assert (growth < 1e-3) is converges


def growth_in_many_rounds(algorithm, schedule, h):
    matrix = Case(algorithm, schedule, h, "boundary").naive_matrix()
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.nan_to_num(np.linalg.norm(np.linalg.matrix_power(matrix, 2**14)), nan=inf))


@pytest.mark.parametrize("schedule", [RoundRobin, Synchronous], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("p", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("eta", [0.01, 0.5])
def test_admm_at_curvature_zero_is_what_its_powers_are(schedule, p, eta):
    algorithm = ADMM(eta=eta, rho=0.5)
    assert is_stable(algorithm, schedule(p=p), h=0.0) is (growth_in_many_rounds(algorithm, schedule(p=p), 0.0) < 1e3)
    assert is_stable(algorithm, schedule(p=p), h=0.0, strict=True) is False


def test_a_modulus_within_1e_9_of_1_counts_as_1():
    assert is_stable(SGD(eta=2 + 5e-10), ONE) is True
    assert is_stable(SGD(eta=2 + 2e-9), ONE) is False
    assert is_stable(SGD(eta=2 - 5e-10), ONE, strict=True) is False
    assert is_stable(SGD(eta=2 - 2e-9), ONE, strict=True) is True


def test_stability_over_a_spectrum_is_that_of_every_curvature():
    assert is_stable(SGD(eta=1.0), ONE, h=[0.5, 1.9], over_spectrum=True) is True
    assert is_stable(SGD(eta=1.0), ONE, h=[0.5, 2.1, 1.0], over_spectrum=True) is False
    assert is_stable(SGD(eta=1.0), ONE, h=[0.0, 1.0], over_spectrum=True) is True
    assert is_stable(SGD(eta=1.0), ONE, h=[0.0, 1.0], over_spectrum=True, strict=True) is False


@pytest.mark.parametrize("delta", [0.5, 0.99, 0.999999])
def test_a_small_but_regular_momentum_gap_is_no_jordan_block(delta):
    assert is_stable(MSGD(eta=1.0, delta=delta), ONE, h=0.0) is True


# Numbers out of range


@pytest.mark.parametrize(
    ("algorithm", "schedule"),
    [
        (SGD(eta=1e200), Synchronous(p=1, tau=3)),
        (EASGD(eta=1e200, alpha=0.1), RoundRobin(p=300, tau=3)),
        (EASGD(eta=0.1, alpha=1e200), RoundRobin(p=300)),
        (EASGD(eta=1e200, alpha=0.1), RoundRobin(p=3, tau=3)),
        (EASGD(eta=0.1, alpha=1e200), RoundRobin(p=8)),
        (EASGD(eta=0.1, alpha=1e300), Synchronous(p=8)),
        (EAMSGD(eta=1e200, alpha=1e200, delta=0.9), RoundRobin(p=2)),
        (DOWNPOUR(eta=1e200), RoundRobin(p=3, tau=2)),
        (DiLoCo(eta=1e100, nu=1e250, mu=0.9), RoundRobin(p=3)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_overflow_is_inf_without_a_warning(algorithm, schedule):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        radius = spectral_radius(algorithm, schedule)
        assert radius == inf or radius > 1e150
        assert not is_stable(algorithm, schedule)


def test_a_map_with_a_pole_is_inf_without_a_warning():
    for p in (3, 200):
        assert spectral_radius(ADMM(eta=1.0, rho=-1.0), RoundRobin(p=p)) == inf  # 1 + eta rho = 0
        assert is_stable(ADMM(eta=1.0, rho=[-1.0, 1.0]), RoundRobin(p=p)).tolist() == [False, True]


# Bad input: one sentence that names the argument


GOOD = {"eta": 0.1, "alpha": 0.1}


def label(value):
    """A test's name from the values, without memory addresses."""
    if isinstance(value, dict):
        return "-".join(f"{name}={label(entry)}" for name, entry in value.items())
    return getattr(value, "__name__", None) or (
        str(value) if not hasattr(value, "parameters") else type(value).__name__
    )


@pytest.mark.parametrize("ask", [spectral_radius, is_stable], ids=lambda function: function.__name__)
@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"eta": nan}, ["eta", "finite", "nan"]),
        ({"eta": inf}, ["eta", "finite", "inf"]),
        ({"alpha": [0.1, -inf]}, ["alpha", "finite", "-inf"]),
        ({"alpha": "0.1"}, ["alpha", "real number", "0.1"]),
        ({"alpha": 0.1j}, ["alpha", "real number", "0.1j"]),
        ({"alpha": True}, ["alpha", "real number", "True"]),
        ({"alpha": [0.1, None]}, ["alpha", "real number"]),
        ({"alpha": [[0.1], [0.1, 0.2]]}, ["alpha", "real number"]),
        ({"alpha": {"value": 1}}, ["alpha", "real number"]),
        ({"alpha": sympy.Symbol("a")}, ["alpha", "iteration_map"]),
        ({"alpha": sympy.I}, ["alpha", "real number"]),
        ({"alpha": abs}, ["alpha", "varying"]),
        ({"alpha": None}, ["EASGD", "alpha"]),
        ({"eta": None, "alpha": None}, ["EASGD", "eta and alpha"]),
        ({"eta": [0.1, 0.2], "alpha": [0.1, 0.2, 0.3]}, ["broadcast", "eta (2,)", "alpha (3,)"]),
    ],
    ids=label,
)
def test_a_bad_parameter_is_refused(ask, values, words, refused):
    refused(lambda: ask(EASGD(**GOOD | values), RoundRobin(p=2)), *words)


@pytest.mark.parametrize("ask", [spectral_radius, is_stable], ids=lambda function: function.__name__)
@pytest.mark.parametrize(
    ("h", "over_spectrum", "words"),
    [
        (nan, False, ["h", "finite", "nan"]),
        ([1.0, nan], False, ["h", "finite", "nan"]),
        ([1.0, nan], True, ["h", "finite", "nan"]),
        ([inf, 1.0], True, ["h", "finite", "inf"]),
        ("1", False, ["h", "real number"]),
        (["1", "2"], True, ["h", "real number"]),
        (None, False, ["h", "real number", "None"]),
        (sympy.Symbol("h"), False, ["h", "iteration_map"]),
        (1.0, True, ["h", "axis", "1.0"]),
        ([], True, ["h", "empty"]),
        (np.ones((2, 0)), True, ["h", "empty"]),
    ],
    ids=label,
)
def test_a_bad_curvature_is_refused(ask, h, over_spectrum, words, refused):
    refused(lambda: ask(EASGD(**GOOD), RoundRobin(p=2), h, over_spectrum=over_spectrum), *words)


def test_shapes_that_do_not_broadcast_with_the_spectrum_are_refused(refused):
    algorithm = EASGD(eta=[0.1, 0.2, 0.3, 0.4], alpha=0.1)
    refused(
        lambda: spectral_radius(algorithm, RoundRobin(p=2), np.ones((3, 7)), over_spectrum=True),
        "broadcast",
        "eta",
        "h",
    )


@pytest.mark.parametrize("ask", [spectral_radius, is_stable], ids=lambda function: function.__name__)
@pytest.mark.parametrize(
    ("algorithm", "schedule", "words"),
    [
        (EASGD, RoundRobin(p=2), ["EASGD", "eta and alpha"]),
        (3, RoundRobin(p=2), ["algorithm", "3"]),
        ("easgd", RoundRobin(p=2), ["algorithm", "easgd"]),
        (int, RoundRobin(p=2), ["algorithm", "int"]),
        (EASGD(**GOOD), 3, ["schedule", "3"]),
        (EASGD(**GOOD), None, ["schedule", "None"]),
        (EASGD(**GOOD), RoundRobin, ["schedule", "RoundRobin"]),
        (EASGD(**GOOD), RoundRobin(), ["RoundRobin", "p"]),
        (EASGD(**GOOD), Synchronous(tau=3), ["Synchronous", "p"]),
        (ADMM(eta=0.1, rho=1.0), RoundRobin(p=2, tau=2), ["ADMM", "tau=2"]),
        (ADMM(eta=0.1, rho=1.0), Synchronous(p=2, tau=2), ["ADMM", "tau=2"]),
        (MDOWNPOUR(eta=0.1, delta=0.9), RoundRobin(p=2, tau=2), ["MDOWNPOUR", "tau=2"]),
        (SGD(eta=0.1), RoundRobin(p=2), ["SGD", "p=2"]),
        (MSGD(eta=0.1, delta=0.9), Synchronous(p=4), ["MSGD", "p=4"]),
        (Lookahead(eta=0.1, alpha=0.5), Synchronous(p=2), ["Lookahead", "p=2"]),
    ],
    ids=label,
)
def test_a_bad_pair_is_refused(ask, algorithm, schedule, words, refused):
    refused(lambda: ask(algorithm, schedule), *words)


@pytest.mark.parametrize("kind", SCHEDULES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"p": 0}, ["p", "at least 1", "0"]),
        ({"p": -3}, ["p", "at least 1", "-3"]),
        ({"p": 2.5}, ["p", "whole number", "2.5"]),
        ({"p": "2"}, ["p", "whole number", "'2'"]),
        ({"p": True}, ["p", "whole number", "True"]),
        ({"p": nan}, ["p", "whole number", "nan"]),
        ({"p": 2, "tau": 0}, ["tau", "at least 1", "0"]),
        ({"p": 2, "tau": -1}, ["tau", "at least 1", "-1"]),
        ({"p": 2, "tau": 1.5}, ["tau", "whole number", "1.5"]),
        ({"p": 2, "tau": None}, ["tau", "whole number", "None"]),
        ({"p": [1, 2]}, ["p", "whole number", "[1, 2]"]),
    ],
    ids=label,
)
def test_a_bad_schedule_is_refused(kind, values, words, refused):
    refused(lambda: kind(**values), *words)


def test_numpy_integers_are_whole_numbers():
    assert RoundRobin(p=np.int64(3), tau=np.int32(2)) == RoundRobin(p=3, tau=2)
    assert type(RoundRobin(p=np.int64(3)).p) is int


def test_an_unknown_parameter_is_a_type_error():
    with pytest.raises(TypeError, match="rho"):
        EASGD(eta=0.1, rho=0.1)
