"""Section 4 of the paper: the stability of ADMM and EASGD in the round-robin scheme, h = 1."""

from __future__ import annotations

import numpy as np

from easgd_cli.claims.kit import ROUNDING, Effort, Finding, Statement, about, middles, near_one, radius_of
from easgd_theory import ADMM, EASGD, RoundRobin, critical_value, iteration_map, spectral_radius
from easgd_theory.growth import measured_growth
from simulations import Quadratic, simulate

CHAOTIC = ADMM(eta=0.001, rho=2.5)
START = 1000.0


def _figure_1(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Learning rates and penalties of the paper's Figure 1, eta in (0, 0.01) and rho in (0, 10)."""
    return middles(0, 0.01, size)[:, None], middles(0, 10, size)


def _printed_tick(eta: np.ndarray, rho: np.ndarray, p: int) -> np.ndarray:
    """F3 F2 F1 of the first worker as the paper prints them, (lambda^1, x^1, ..., x): eqs. 9 to 11 with gradient x."""
    n = 2 * p + 1
    eta, rho = np.broadcast_arrays(eta, rho)
    dual, primal, center = (np.broadcast_to(np.eye(n), (*eta.shape, n, n)).copy() for _ in range(3))
    dual[..., 0, 1], dual[..., 0, n - 1] = -1, 1
    primal[..., 1, 0] = primal[..., 1, n - 1] = eta * rho / (1 + eta * rho)
    primal[..., 1, 1] = (1 - eta) / (1 + eta * rho)
    center[..., n - 1, :] = 0
    center[..., n - 1, 0 : n - 1 : 2], center[..., n - 1, 1 : n - 1 : 2] = -1 / p, 1 / p
    return center @ primal @ dual


def ticks_are_stable(effort: Effort) -> Finding:
    """Eigenvalues of single ticks of ADMM."""
    eta, rho = _figure_1(effort.grid)
    largest, difference = 0.0, 0.0
    for p in (3, 8):
        steps = iteration_map(ADMM(eta=eta, rho=rho), RoundRobin(p=p), h=1.0).steps
        largest = max(largest, *(float(radius_of(step).max()) for step in steps))
        difference = max(difference, float(np.abs(steps[0] - _printed_tick(eta, rho, p)).max()))
    return Finding(
        f"The largest modulus of an eigenvalue over {effort.grid}² points, p = 3 and 8, every worker, is "
        f"{near_one(largest)}. The product of the three printed maps and the definition run over the identity "
        f"differ by {about(difference)}.",
        {"largest_radius": largest, "difference_from_printed_maps": difference},
        largest <= 1 + ROUNDING and difference < 1e-14,
    )


def _delay_polynomial_radius(eta: float, rho: float, p: int) -> float:
    """Radius of ADMM's round from the roots of its delay polynomial; no matrix is involved."""
    a, b = (1 - eta) / (1 + eta * rho), eta * rho / (1 + eta * rho)
    w = np.zeros(p + 1)
    w[0] = 1
    first = np.polyadd(np.polymul(np.polysub(w, [a]), np.polysub(w, [1])), b * w)
    whole = np.polysub(np.polymul([p, 1 - p], first), b * np.polymul(w, np.polysub(2 * w, [1])))
    roots = np.roots(np.polydiv(whole, [1, -1])[0])  # the increment form of the center adds a root 1
    return float(np.abs(roots).max() ** p)


def rounds_can_be_unstable(effort: Effort) -> Finding:
    """Largest radius of ADMM's round over the range of Figure 1."""
    eta, rho = _figure_1(2 * effort.grid)
    numbers: dict[str, float] = {}
    parts, worst = [], 0.0
    for p in (3, 8):
        radius = np.asarray(spectral_radius(ADMM(eta=eta, rho=rho), RoundRobin(p=p)))
        i, j = np.unravel_index(radius.argmax(), radius.shape)
        at, largest = (float(eta[i, 0]), float(rho[j])), float(radius.max())
        worst = max(worst, abs(_delay_polynomial_radius(*at, p) - largest))
        unstable = float((radius > 1 + ROUNDING).mean())
        parts.append(f"p = {p}: up to {largest:.7f}, at η = {at[0]:.3g}, ρ = {at[1]:.3g}; {unstable:.1%} of the range")
        numbers |= {f"largest_radius_p{p}": largest, f"eta_p{p}": at[0], f"rho_p{p}": at[1]}
        numbers |= {f"unstable_share_p{p}": unstable}
    numbers["difference_from_delay_polynomial"] = worst
    agrees = min(numbers["largest_radius_p3"], numbers["largest_radius_p8"]) > 1 + ROUNDING and worst < 1e-7
    text = "; ".join(parts) + f". The roots of the delay polynomial give the same to {about(worst)}."
    return Finding(text, numbers, agrees)


def _iterate(p: int, rounds: int) -> np.ndarray:
    """The paper's example in plain loops, eqs. 9 to 11: workers and center after each round, (rounds + 1, p + 1)."""
    eta, rho = float(CHAOTIC.eta), float(CHAOTIC.rho)
    dual, x, center = [0.0] * p, [START] * p, START
    rows = [[*x, center]]
    for _ in range(rounds):
        for i in range(p):
            dual[i] -= x[i] - center
            x[i] = (x[i] - eta * x[i] + eta * rho * (dual[i] + center)) / (1 + eta * rho)
            center = sum(x[j] - dual[j] for j in range(p)) / p
        rows.append([*x, center])
    return np.array(rows)


def _simulate(p: int, rounds: int) -> np.ndarray:
    """The example's center by the simulator, which runs the definition; shape (rounds + 1,)."""
    run = simulate(CHAOTIC, RoundRobin(p=p), Quadratic(h=1.0), rounds=rounds, start=START)
    return run.center.values[0, :, 0]


def the_example_diverges(effort: Effort) -> Finding:
    """Radius and trajectory of eta = 0.001, rho = 2.5, lambda = 0, x = 1000."""
    numbers: dict[str, float] = {}
    apart = 0.0
    for p in (1, 2, 3, 8):
        path = _iterate(p, effort.rounds)
        center = path[:, -1]
        apart = max(apart, float(np.abs(_simulate(p, effort.rounds) - center).max() / np.abs(center).max()))
        numbers[f"radius_p{p}"] = float(spectral_radius(CHAOTIC, RoundRobin(p=p)))
        numbers[f"measured_growth_p{p}"] = measured_growth(path)[0]
        numbers[f"center_at_end_p{p}"] = float(np.abs(center[-effort.rounds // 10 :]).max())  # it oscillates
    errors = [abs(numbers[f"radius_p{p}"] - numbers[f"measured_growth_p{p}"]) for p in (1, 2, 3, 8)]
    diverges = [numbers[f"radius_p{p}"] > 1 + ROUNDING for p in (1, 2, 3, 8)]
    shown = ", ".join(f"{numbers[f'radius_p{p}']:.10f} (p = {p})" for p in (1, 2, 3, 8))
    return Finding(
        f"Radius of one round: {shown}. It diverges for p = 3 and 8, and not for p = 1 and 2. The example iterated "
        f"in plain loops for {effort.rounds:,} rounds grows by these factors to {about(max(errors))}; its center goes "
        f"from {START:g} to {about(numbers['center_at_end_p3'])} (p = 3) and "
        f"{about(numbers['center_at_end_p8'])} (p = 8). The simulator's center and that of the loops are the same to "
        f"{about(apart)} of its largest value.",
        numbers | {"largest_difference": max(errors), "simulator_and_loops": apart},
        diverges == [False, False, True, True] and max(errors) < 1e-6 and apart < 1e-9,
        refined=True,
    )


def ticks_are_symmetric(effort: Effort) -> Finding:
    """Symmetry of EASGD's ticks, over symbols."""
    count = symmetric = 0
    for p in (1, 2, 3, 4, 5):
        for step in iteration_map(EASGD(), RoundRobin(p=p)).steps:
            count += 1
            symmetric += step == step.T
    return Finding(
        f"{symmetric} of {count} symbolic ticks (p = 1 to 5, every i) equal their transpose.",
        {"ticks": count, "symmetric": symmetric},
        symmetric == count,
    )


def _condition(eta: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The paper's condition; beyond eta = 2 its second part does not matter."""
    with np.errstate(divide="ignore"):
        return (eta >= 0) & (eta <= 2) & (alpha >= 0) & (alpha <= (4 - 2 * eta) / (4 - eta))


def _wide_grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Learning rates and moving rates far beyond the region on all sides."""
    eta, alpha = np.meshgrid(middles(-1, 5, size), middles(-2, 4, size), indexing="ij")
    return eta, alpha


def eigenvalues_of_the_block(effort: Effort) -> Finding:
    """The quadratic of the 2 x 2 block, over symbols, and the condition on a grid."""
    import sympy

    eta, alpha, z = sympy.symbols("eta alpha z")
    polynomial = iteration_map(EASGD(), RoundRobin(p=1), h=1).characteristic_polynomial(z)
    remainder = sympy.expand(polynomial - ((1 - eta - alpha - z) * (1 - alpha - z) - alpha**2))
    etas, alphas = _wide_grid(4 * effort.grid)
    stable = np.asarray(spectral_radius(EASGD(eta=etas, alpha=alphas), RoundRobin(p=1))) <= 1 + ROUNDING
    wrong = int((stable != _condition(etas, alphas)).sum())
    return Finding(
        f"The characteristic polynomial of the block minus the paper's is {remainder}, as symbols. Eigenvalues and "
        f"condition differ at {wrong} of {etas.size:,} points of −1 < η < 5, −2 < α < 4, of which "
        f"{int(stable.sum()):,} are stable.",
        {"points": etas.size, "stable_points": int(stable.sum()), "differences": wrong},
        remainder == 0 and wrong == 0,
    )


def condition_is_sufficient(effort: Effort) -> Finding:
    """Radius and norm of composed rounds of EASGD inside the region."""
    eta = np.linspace(0, 2, effort.grid)[:, None]
    rule = EASGD(eta=eta, alpha=np.linspace(0, 1, effort.grid) * (4 - 2 * eta) / (4 - eta))
    radius, norm = 0.0, 0.0
    for p in range(1, 9):
        rounds = iteration_map(rule, RoundRobin(p=p), h=1.0).matrix
        radius = max(radius, float(np.max(spectral_radius(rule, RoundRobin(p=p)))))
        norm = max(norm, float(np.linalg.norm(rounds, 2, axis=(-2, -1)).max()))
    return Finding(
        f"Over {effort.grid}² points of the region, its edges included, and p = 1 to 8: largest radius "
        f"{near_one(radius)}, largest norm of a round {near_one(norm)} (a product of symmetric maps of norm 1).",
        {"largest_radius": radius, "largest_norm": norm},
        radius <= 1 + ROUNDING and norm <= 1 + ROUNDING,
    )


def condition_is_independent_of_p(effort: Effort) -> Finding:
    """Whether the region is the paper's at every p: exact for odd p, larger for even p."""
    etas, alphas = _wide_grid(effort.grid)
    condition = _condition(etas, alphas)
    missing = extra = 0
    for p in range(1, 9):
        stable = np.asarray(spectral_radius(EASGD(eta=etas, alpha=alphas), RoundRobin(p=p))) <= 1 + ROUNDING
        missing += int((condition & ~stable).sum())
        if p % 2:
            extra += int((stable & ~condition).sum())
    limit = {p: critical_value("alpha", EASGD(eta=1.0), RoundRobin(p=p)) for p in (2, 3, 4, 5, 8)}
    error = max(
        float(abs(critical_value("alpha", EASGD(eta=eta), RoundRobin(p=p)) - (4 - 2 * eta) / (4 - eta)))
        for eta in middles(0, 2, effort.edges)
        for p in (1, 3, 5, 7)
    )
    even_pair = abs(limit[2] - 0.5 * 2**0.5)  # alpha = (q^2 - 1 + sqrt(1 + q^3)) / (q (1 + q)), q = 2 - eta = 1
    ordered = limit[2] > limit[4] > limit[8] > 2 / 3
    return Finding(
        f"Exact for odd p: bisected edges meet the formula to {about(error)}, and no point outside is stable. For even "
        f"p it is sufficient, and the region slightly larger: at η = 1 it ends at α = {limit[2]:.6f} (p = 2), "
        f"{limit[4]:.6f} (p = 4), {limit[8]:.6f} (p = 8), against 2/3 for odd p ({limit[3]:.6f} at p = 3). Independent "
        f"of p, and exact, is the region that is stable for every p.",
        {f"largest_alpha_p{p}": value for p, value in limit.items()}
        | {"points": etas.size, "condition_but_unstable": missing, "odd_p_stable_outside": extra}
        | {"odd_p_edge_error": error, "p2_closed_form_error": even_pair},
        missing == 0 and extra == 0 and error < 1e-8 and even_pair < 1e-8 and bool(ordered),
        refined=True,
    )


def condition_is_independent_of_i(effort: Effort) -> Finding:
    """Whether exchanging two workers takes one tick to the other, over symbols."""
    p = 4
    steps = iteration_map(EASGD(), RoundRobin(p=p)).steps
    same = 0
    for i, step in enumerate(steps):
        order = list(range(p + 1))
        order[0], order[i] = i, 0
        same += step.extract(order, order) == steps[0]
    return Finding(
        f"{same} of {p} symbolic ticks (p = {p}) become the first one when workers 1 and i are exchanged: the same "
        f"eigenvalues, those of the 2×2 block and 1.",
        {"ticks": p, "same": same},
        same == p,
    )


STATEMENTS = (
    Statement(
        "4.1",
        "Section 4, ADMM, eqs. (9)–(11)",
        "Each map F₃∘F₂∘F₁ of one worker's visit is stable: its eigenvalues are at most 1 in absolute value.",
        ticks_are_stable,
    ),
    Statement(
        "4.2",
        "Section 4, Figure 1",
        "Composed over a round, the maps of ADMM can be unstable: eigenvalues leave the unit circle "
        "(0 < η < 0.01, 0 < ρ < 10, p = 3 and 8).",
        rounds_can_be_unstable,
    ),
    Statement(
        "4.3",
        "Section 4, the example",
        "At η = 0.001, ρ = 2.5, from λ = 0 and x = x̃ = 1000, ADMM's iterates behave “chaotically” (they diverge).",
        the_example_diverges,
    ),
    Statement(
        "4.4",
        "Section 4, EASGD, eqs. (12)–(13)",
        "The map of one worker's visit of EASGD is symmetric.",
        ticks_are_symmetric,
    ),
    Statement(
        "4.5",
        "Section 4, EASGD",
        "Its eigenvalues λ that are not 1 satisfy (1−η−α−λ)(1−α−λ) = α², and |λ| ≤ 1 if and only if "
        "0 ≤ η ≤ 2 and 0 ≤ α ≤ (4−2η)/(4−η).",
        eigenvalues_of_the_block,
    ),
    Statement(
        "4.6",
        "Section 4, EASGD",
        "Under that condition the composed map of a round is stable.",
        condition_is_sufficient,
    ),
    Statement(
        "4.7",
        "Section 4, EASGD",
        "The condition is independent of the number p of workers.",
        condition_is_independent_of_p,
    ),
    Statement(
        "4.8",
        "Section 4, EASGD",
        "The condition does not depend on which worker i visits.",
        condition_is_independent_of_i,
    ),
)
