"""What the tables of `easgd validate` say: their numbers in sentences, whether they agree, and their pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from easgd_cli.findings import Finding, keep

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gpu_trainer.checks import Check
    from gpu_trainer.site import Ground

AGREEMENT = 0.95
"""Outside the band at the edge, so many of the runs do what is predicted."""

_NEAR_THE_BOUND = 0.9  # of the largest curvature that is stable


def conclude(check: Check, ground: Ground, directory: Path) -> Finding:
    """Read a check's table, draw its pictures, and write both and what it says into the directory."""
    from figures.validated import rows

    found = rows(directory / f"{check.name}.csv")
    drawn = _PICTURES[check.name](check, ground, found)
    title, judge = _JUDGED[check.name]
    numbers, sentences, agrees = judge(found)
    place = (
        f"{found.attrs['model']} on {found.attrs['images']:g} images of {found.attrs['data']}, {len(ground.point)} "
        f"parameters, after {found.attrs['steps']:g} steps of training: curvature from {ground.values[0]:.3g} to "
        f"{ground.h_max:.4g}."
    )
    if check.tilted:
        place += f" The gradient there, of length {ground.slope:.3g}, is subtracted everywhere; the Hessian stays."
    finding = Finding(check.name, title, [place, *sentences], numbers, agrees, list(drawn))
    keep(finding, drawn, directory)
    return finding


# The tables, each with its numbers, its sentences and its verdict

Judged = tuple[dict[str, Any], list[str], bool | None]


def _map(found: xr.Dataset) -> Judged:
    numbers = {
        "cases": found.sizes["row"],
        "agree": int(found.agrees.sum()),
        "largest_error": float(found.error.max()),
        "largest_log_radius_error": float(found.log_radius_error.max()),
        "largest_leakage": float(found.leakage.max()),
        "above_1": int((found.predicted > 1.0001).sum()),
        "below_1": int((found.predicted < 0.9999).sum()),
    }
    sentences = [
        f"{numbers['agree']} of {numbers['cases']} measured matrices are the predicted ones: entries to "
        f"{numbers['largest_error']:.1e} of the largest (asked: 1e-6), the logarithm of the radius to "
        f"{numbers['largest_log_radius_error']:.1e} (asked: 1e-4).",
        f"{numbers['above_1']} of the predicted radii are above 1.0001, {numbers['below_1']} below 0.9999.",
    ]
    return numbers, sentences, numbers["agree"] == numbers["cases"]


def _growth(found: xr.Dataset) -> Judged:
    counted = found.left_out.values == ""
    reasons = {
        reason: int((found.left_out.values == reason).sum()) for reason in sorted(set(found.left_out.values[~counted]))
    }
    agree = int(found.agrees.values[counted].sum())
    worst = float(found.error.values[counted].max(initial=0.0))
    numbers = {"cases": found.sizes["row"], "counted": int(counted.sum()), "agree": agree, "largest_error": worst}
    left = "; ".join(f"{reason}: {count}" for reason, count in reasons.items())
    sentences = [
        f"{agree} of {numbers['counted']} fitted growths have the predicted logarithm to 1%, the worst to {worst:.1e}.",
        f"{numbers['cases'] - numbers['counted']} of {numbers['cases']} cases are left out"
        + (f" ({left})." if left else "."),
    ]
    return numbers | {"left_out": reasons}, sentences, agree == numbers["counted"]


def _fate(found: xr.Dataset) -> Judged:
    numbers: dict[str, Any] = {}
    sentences = []
    for name in dict.fromkeys(found.algorithm.values):
        one = found.isel(row=np.flatnonzero(found.algorithm.values == name))
        inside = one.near_edge.values
        tables = {"outside the band": _confusion(one, ~inside), "in the band": _confusion(one, inside)}
        sentences += [f"{name}, {place}: {_said(table)}" for place, table in tables.items()]
        stayed = ~one.measured.values & ~one.predicted.values
        ratio = (one.distance / one.predicted_distance).values[stayed]
        alone = (one.rounds * np.log(one.predicted_growth) > np.log(100)).values == one.measured.values
        numbers[name] = tables | {
            "distance_to_predicted": [float(ratio.min()), float(np.median(ratio)), float(ratio.max())],
            "agreement_of_the_radius_alone": float(alone[~inside].mean()),
        }
        sentences.append(
            f"{name}: where runs stay, their last distance is {ratio.min():.2f} to {ratio.max():.2f} times the "
            f"predicted one. The spectral radius to the power of the rounds would tell {alone[~inside].mean():.1%}."
        )
    sentences.append(
        "Predicted to leave: the distance after the rounds is above 100 times its start, by the powers of the "
        "predicted matrices at the network's eigenvalues."
    )
    sentences.append("The band: the prediction is another somewhere within 5% of either parameter.")
    shares = [numbers[name]["outside the band"]["agreement"] for name in numbers]
    return numbers, sentences, min(shares) >= AGREEMENT


def _confusion(found: xr.Dataset, which: np.ndarray) -> dict[str, float]:
    """How many left and stayed, as predicted and not."""
    predicted, measured = found.predicted.values[which], found.measured.values[which]
    counts = {
        "left_as_predicted": predicted & measured,
        "stayed_as_predicted": ~predicted & ~measured,
        "left": ~predicted & measured,
        "stayed": predicted & ~measured,
    }
    agreement = float((predicted == measured).mean()) if which.any() else 1.0
    return {name: int(these.sum()) for name, these in counts.items()} | {"agreement": agreement}


def _said(table: Mapping[str, float]) -> str:
    return (
        f"{table['left_as_predicted']} left and {table['stayed_as_predicted']} stayed as predicted, {table['left']} "
        f"left and {table['stayed']} stayed against it: {table['agreement']:.1%} agree."
    )


def _settling(found: xr.Dataset) -> Judged:
    counts = {fate: int((found.fate.values == fate).sum()) for fate in ("stayed", "left", "blew up")}
    left = found.isel(row=np.flatnonzero(found.fate.values == "left"))
    sentences = [", ".join(f"{count} {fate}" for fate, count in counts.items()) + "."]
    if counts["left"]:
        flatter = float((left.h_max_at_last < left.h_max).mean())
        sentences.append(f"Of those that left, {flatter:.0%} were at a flatter place in the end.")
        counts |= {"left_for_a_flatter_place": flatter}  # type: ignore[dict-item]
    return counts, sentences, None


def _edge(found: xr.Dataset) -> Judged:
    numbers: dict[str, Any] = {}
    sentences = []
    for row in range(found.sizes["row"]):
        one = found.isel(row=row)
        share = np.array(str(one.h_max.item()).split(), dtype=float) / one.bound.item()
        near = np.flatnonzero(share >= _NEAR_THE_BOUND) * int(one.every.item())
        name = f"p = {one.p.item():g}, alpha = {one.alpha.item():g}"
        numbers[name] = {"bound": one.bound.item(), "highest": share.max(), "near": near.tolist()}
        sentences.append(
            f"{name}: h_max reached {share.max():.2f} of its bound"
            + (f"; it was at {_NEAR_THE_BOUND:g} or above from round {near[0]} to {near[-1]}." if near.size else ".")
        )
    return numbers, sentences, None


_JUDGED: Mapping[str, tuple[str, Callable[[xr.Dataset], Judged]]] = {
    "map": ("The matrix of a round", _map),
    "growth": ("Growth over many rounds", _growth),
    "fate": ("Who leaves a stationary point", _fate),
    "settling": ("Where runs with mini-batches end", _settling),
    "edge": ("The edge of stability", _edge),
}


# The pictures of each

Drawn = dict[str, "Figure | Axes"]


def _regions(check: Check, ground: Ground, found: xr.Dataset) -> Drawn:
    from figures import validated

    draw = {"fate": validated.fate, "settling": validated.settling}[check.name]
    return {
        f"{check.name}_{grid.rule.__name__.lower()}": draw(validated.region(grid, ground, found))
        for grid in check.grids  # type: ignore[attr-defined]
    }


def _one(name: str, picture: str) -> Callable[[Check, Ground, xr.Dataset], Drawn]:
    def draw(check: Check, ground: Ground, found: xr.Dataset) -> Drawn:
        from figures import validated

        return {picture: getattr(validated, name)(found)}

    return draw


_PICTURES: Mapping[str, Callable[[Check, Ground, xr.Dataset], Drawn]] = {
    "map": _one("maps", "map"),
    "growth": _one("growths", "growth"),
    "fate": _regions,
    "settling": _regions,
    "edge": _one("edge", "edge"),
}
