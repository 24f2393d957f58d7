"""Search at random for a certified spectral radius that is wrong: `python benchmarks/search.py [POINTS] [SEED]`.

Algorithms, p <= 40, tau <= 8, parameters in and beyond the stable range, h of either sign; a third of each spread over
decades, a third at or very near special values. The certified radius of the delay pencil is held against the dense
eigenvalues of the composed round (where its entries are below 1e12). Near a double eigenvalue those have only half
the digits: where the two differ by more than 1e-9, the map is composed and its eigenvalues are found in 40 digits.
Prints how many points were not certified, the largest error, and every wrong point.
"""

import sys
from collections import Counter

import mpmath
import numpy as np

from easgd_theory import ADMM, DOWNPOUR, EAMSGD, EASGD, MDOWNPOUR, DiLoCo, LocalSGD, RoundRobin, delay
from easgd_theory.algorithm import numeric_values
from easgd_theory.maps import Field, composed, numeric_field

RANGES = {"eta": (-0.3, 3.0), "alpha": (-0.2, 2.2), "delta": (-1.1, 1.1), "rho": (0.0, 3.0), "nu": (0.0, 2.5)}
RANGES["mu"] = RANGES["delta"]
SPECIAL = np.array([-1.0, 0.0, 0.5, 2 / 3, 1.0, 2.0])
BATCH = 200


def spread(rng, low, high):
    """Uniform; scaled down over three decades; or at and very near the special values. A third each."""
    uniform = rng.uniform(low, high, BATCH)
    near = rng.choice(SPECIAL, BATCH) + rng.choice([0.0, 1.0, -1.0], BATCH) * 10 ** rng.uniform(-12, -2, BATCH)
    scaled = uniform * 10 ** rng.uniform(-3, 0, BATCH)
    return np.choose(rng.integers(3, size=BATCH), [uniform, scaled, near])


def precise_radius(algorithm, values, p, tau, h):
    """The radius in 40 digits: the definition run over mpmath's numbers."""
    with mpmath.workdps(40):
        k = algorithm().pack({name: mpmath.mpf(float(value)) for name, value in values.items()})
        matrix = composed(algorithm, RoundRobin(p, tau), Field(k, mpmath.mpf(float(h)), mpmath.mpf(1)))
        eigenvalues = mpmath.eig(mpmath.matrix(matrix.tolist()), left=False, right=False)
        return float(max(map(abs, eigenvalues)))


def batch(rng, algorithm, p, tau):
    """(errors relative to max(1, radius), certified) at up to BATCH random points."""
    values = {name: spread(rng, *RANGES[name]) for name in algorithm.parameters()}
    rule = algorithm(**values)
    h = spread(rng, -0.3, 1.0)
    field = numeric_field(rule, *numeric_values(rule, h))
    with np.errstate(all="ignore"):
        coefficients = delay.pencil_coefficients(delay.visit_blocks(algorithm, tau, p, field), len(algorithm.worker))
        matrices = composed(algorithm, RoundRobin(p, tau), field)
    told = np.isfinite(matrices).all(axis=(1, 2)) & (np.abs(matrices).max(axis=(1, 2)) < 1e12)  # dense is exact enough
    coefficients, matrices, h = coefficients[told], matrices[told], h[told]
    values = {name: value[told] for name, value in values.items()}
    logarithm, _, certified = delay.dominant_roots(coefficients, p)
    dense = np.abs(np.linalg.eigvals(matrices)).max(axis=-1)
    error = np.abs(np.exp(logarithm) - dense) / np.maximum(1.0, dense)
    doubtful = np.flatnonzero(certified & (error > 1e-9))
    for i in doubtful:
        dense[i] = precise_radius(algorithm, {name: value[i] for name, value in values.items()}, p, tau, h[i])
    error = np.abs(np.exp(logarithm) - dense) / np.maximum(1.0, dense)
    for i in np.flatnonzero(certified & (error > 1e-8)):
        point = {name: float(value[i]) for name, value in values.items()}
        print(
            f"wrong: {algorithm.__name__}({point}), p={p}, tau={tau}, h={h[i]}: {np.exp(logarithm[i])} not {dense[i]}"
        )
    return error, certified, doubtful.size


def main(points=100_000, seed=0):
    """Run the search; returns how many certified values were wrong."""
    rng = np.random.default_rng(seed)
    total, uncertified, wrong, worst, looked = Counter(), Counter(), Counter(), 0.0, 0
    while total.total() < points:
        algorithm = [EASGD, EAMSGD, ADMM, DOWNPOUR, MDOWNPOUR, LocalSGD, DiLoCo][rng.integers(7)]
        p = int(rng.integers(2, 41))
        tau = 1 if "tau" in algorithm.requires_one else int(rng.integers(1, 9))
        error, certified, doubtful = batch(rng, algorithm, p, tau)
        looked += doubtful
        name = algorithm.__name__
        total[name] += len(error)
        uncertified[name] += np.count_nonzero(~certified)
        wrong[name] += np.count_nonzero(certified & (error > 1e-8))
        worst = max(worst, error[certified].max())
    for name in total:
        print(f"{name:10} {total[name]:8} points {uncertified[name]:6} not certified {wrong[name]:4} wrong")
    print(f"largest certified error, relative to max(1, radius): {worst:.1e}; {looked} points looked at in 40 digits")
    return wrong.total()


if __name__ == "__main__":
    sys.exit(bool(main(*map(int, sys.argv[1:]))))
