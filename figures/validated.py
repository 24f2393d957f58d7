"""What `gpu_trainer.validate` measured on a network beside what was predicted: first what to show, then drawing it."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from figures.style import COLOURS, axis_label, in_style, new_figure, schedule_name
from gpu_trainer.fate import Grid, Start
from gpu_trainer.site import Ground
from gpu_trainer.verdict import FACTOR

_OF_SITE = ("data", "model", "images", "steps", "seed")
_FINE = 100  # points along an axis of a predicted region
_MARKERS = "os^Dv<>P*X"
_OTHER_COLOURS = ("#5b6372", "#7a4fa3", "#8a6d1d", "#3b7d2a")
_FATES = {"stayed": ("o", "#1f4e9c"), "left": ("s", "#d1651a"), "blew up": ("X", "#a31545")}
_UNSTABLE = "#f3d9cd"
_UPWARD = 20  # curvatures from 0 to h_max at which growth is looked for
_COUPLINGS = {"alpha": axis_label("alpha"), "rho": r"penalty $\rho / h_{\max}$"}
_BEGINS = 1e-6  # of growth, in the logarithm
_RADII = (0.1, 0.2, 0.5, 1, 2, 5, 10)


# What to show


def rows(table: Path, shared: Sequence[str] = _OF_SITE) -> xr.Dataset:
    """The rows of a table that `gpu_trainer.validate` wrote, over the dimension ``row``.

    Parameters
    ----------
    table : Path
        A CSV.
    shared : sequence of str
        The columns that are alike in all rows.

    Returns
    -------
    xarray.Dataset
        A variable for each column; its attributes are those that all rows share.
    """
    with table.open(newline="", encoding="utf-8") as file:
        records = list(csv.DictReader(file))
    columns = {name: _typed([record[name] for record in records]) for name in records[0]}
    attributes: dict[str, Any] = {name: columns.pop(name)[0].item() for name in shared}
    names = {name: ", ".join(dict.fromkeys(columns[name])) for name in ("algorithm", "schedule")}
    found = xr.Dataset({name: ("row", values) for name, values in columns.items()})
    return found.assign_attrs(names, **attributes, easgd_version=version("easgd"))


def _typed(texts: list[str]) -> np.ndarray:
    """A column as booleans, numbers or texts."""
    if set(texts) <= {"True", "False"}:
        return np.array([text == "True" for text in texts])
    try:
        return np.array(texts, dtype=float)
    except ValueError:
        return np.array(texts)


def region(grid: Grid, ground: Ground, found: xr.Dataset) -> xr.Dataset:
    """The predicted region of a grid for a network, and what was found in it.

    Parameters
    ----------
    grid : Grid
    ground : Ground
        Whose spectrum is predicted for.
    found : xarray.Dataset
        `rows` of fate.csv or of settling.csv.

    Returns
    -------
    xarray.Dataset
        `predicted_region` (coupling_axis, rate_axis), the predicted distance after the rounds, in units of its start;
        `log_growth`, of the predicted growth in a round without negative curvatures; and the rows of this grid.
    """
    rates, couplings = _finer("rate_axis", grid.rates), _finer("coupling_axis", grid.couplings)
    upward, start = np.linspace(0.0, 1.0, _UPWARD) ** 2, Start.at(ground)
    growth = grid.growth(rates.values, couplings.values[:, None], upward)
    distance = [grid.distance(rates.values, coupling, start) for coupling in couplings.values]
    names = {"algorithm": grid.rule.__name__, "schedule": type(grid.schedule).__name__}
    numbers = {"p": grid.schedule.workers(), "tau": grid.schedule.tau, "rounds": grid.rounds}
    return (
        found.isel(row=np.flatnonzero(found.algorithm.values == grid.rule.__name__))
        .assign(
            predicted_region=(("coupling_axis", "rate_axis"), distance),
            log_growth=(("coupling_axis", "rate_axis"), np.log(growth)),
            rate_axis=rates,
            coupling_axis=couplings.assign_attrs(parameter=grid.rule.parameters()[1]),
        )
        .assign_attrs(names | numbers)
    )


def _finer(name: str, values: Sequence[float]) -> xr.DataArray:
    """More points along an axis, half a step beyond its ends: equal ratios where the ends are far, else equal steps."""
    geometric = values[-1] / values[0] > 50
    places = np.log(values) if geometric else np.array(values)
    half = (places[1] - places[0]) / 2
    fine = np.linspace(places[0] - half, places[-1] + half, _FINE)
    scale = "log" if geometric else "linear"
    return xr.DataArray(np.exp(fine) if geometric else fine, dims=name, attrs={"scale": scale})


# Drawing


@in_style
def maps(found: xr.Dataset) -> Figure:
    """Draw the rows of map.csv: the measured spectral radius against the predicted, and the largest errors."""
    figure = new_figure(9.0, 4.0, found)
    left, right = figure.subplots(1, 2)
    _against(left, found, "spectral radius of one round")
    _errors(right, found, found.error, 1e-6, "largest error of an entry / largest entry")
    for set_scale, set_ticks in ((left.set_xscale, left.set_xticks), (left.set_yscale, left.set_yticks)):
        set_scale("log")
        set_ticks(_RADII, [f"{radius:g}" for radius in _RADII])
    left.minorticks_off()
    figure.suptitle(
        f"The matrix of a round along eigenvectors of the Hessian: {found.sizes['row']} cases, {_site(found)}"
    )
    return figure


@in_style
def growths(found: xr.Dataset) -> Figure:
    """Draw the rows of growth.csv: the measured growth of a round against the predicted, and the errors."""
    counted = found.isel(row=np.flatnonzero(found.left_out.values == ""))
    figure = new_figure(9.0, 4.0, found)
    left, right = figure.subplots(1, 2)
    _against(left, counted, "growth in one round")
    _errors(right, counted, counted.error, 1e-2, "relative error of its logarithm")
    figure.suptitle(f"Growth over many rounds: {counted.sizes['row']} of {found.sizes['row']} cases, {_site(found)}")
    return figure


@in_style
def fate(shown: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw a `region` with rows of fate.csv: which runs left the point, over where that is predicted."""
    ax = _predicted(shown, ax)
    for unstable, marker, label in ((True, "o", "left the point"), (False, "o", "stayed near it")):
        these = shown.isel(row=np.flatnonzero(shown.measured.values == unstable))
        (points,) = ax.plot(these.eta_h_max, these.coupling, marker, markersize=4.5, color="black", label=label)
        points.set_markerfacecolor("black" if unstable else "white")
    wrong = shown.isel(row=np.flatnonzero(~shown.agrees.values))
    if wrong.sizes["row"]:
        ax.plot(
            wrong.eta_h_max,
            wrong.coupling,
            "o",
            markersize=10,
            color="#a31545",
            fillstyle="none",
            label="not as predicted",
        )
    _finish(ax, shown, f"Near the point, within {shown.attrs['rounds']} rounds")
    return ax


@in_style
def settling(shown: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw a `region` with rows of settling.csv: what became of runs with mini-batches."""
    ax = _predicted(shown, ax)
    for name, (marker, colour) in _FATES.items():
        these = shown.isel(row=np.flatnonzero(shown.fate.values == name))
        ax.plot(these.eta_h_max, these.coupling, marker, markersize=5, color=colour, label=name)
    _finish(ax, shown, f"With mini-batches, after {shown.attrs['rounds']} rounds")
    return ax


@in_style
def edge(found: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the rows of edge.csv: the largest curvature along runs of EASGD, in units of what each allows."""
    if ax is None:
        ax = new_figure(6.4, 4.2, found).subplots()
    for row in range(found.sizes["row"]):
        one = found.isel(row=row)
        curvature = np.array(str(one.h_max.item()).split(), dtype=float)
        label = rf"$p = {one.p.item():g}$, $\alpha = {one.alpha.item():g}$: bound {one.bound.item():.3g}"
        ax.plot(np.arange(len(curvature)) * one.every.item(), curvature / one.bound.item(), label=label)
    ax.axhline(1.0, color="black", linewidth=1.0)
    ax.set(xlabel="round", ylabel=r"$h_{\max}$ at the center / largest stable $h$", ylim=(0, None))
    ax.set_title(f"EASGD at the edge of stability, $\\eta = {found.eta.values[0]:.3g}$; {_site(found)}")
    ax.legend()
    return ax


def _site(found: xr.Dataset) -> str:
    return f"{found.attrs['model'].rpartition(':')[2]} on {found.attrs['images']:g} images of {found.attrs['data']}"


def _looks(found: xr.Dataset) -> list[tuple[str, str, str]]:
    """The algorithms with a colour and a marker each."""
    spare = iter(_OTHER_COLOURS)
    names = dict.fromkeys(found.algorithm.values)
    return [(name, COLOURS.get(name) or next(spare), marker) for name, marker in zip(names, _MARKERS, strict=False)]


def _against(ax: Axes, found: xr.Dataset, what: str) -> None:
    for name, colour, marker in _looks(found):
        these = found.isel(row=np.flatnonzero(found.algorithm.values == name))
        ax.plot(these.predicted, these.measured, marker, color=colour, markersize=5, fillstyle="none", label=name)
    ends = [float(found.predicted.min()), float(found.predicted.max())]
    ax.plot(ends, ends, color="0.6", linewidth=0.8, zorder=0)
    ax.axvline(1.0, color="0.6", linewidth=0.8, linestyle=":")
    ax.set(xlabel=f"{what}, predicted", ylabel="measured")
    ax.legend()


def _errors(ax: Axes, found: xr.Dataset, errors: xr.DataArray, limit: float, label: str) -> None:
    for place, (name, colour, marker) in enumerate(_looks(found)):
        these = errors.values[found.algorithm.values == name]
        across = place + 0.5 * (np.arange(len(these)) / max(1, len(these) - 1) - 0.5)
        ax.plot(across, np.maximum(these, 1e-16), marker, color=colour, markersize=3, fillstyle="none")
    ax.axhline(limit, color="black", linewidth=1.0)
    ax.text(0.99, limit * 1.2, "asked", transform=ax.get_yaxis_transform(), ha="right", va="bottom")
    ax.set(yscale="log", ylabel=label, ylim=(None, 20 * limit))
    ax.set_xticks(range(len(_looks(found))), [name for name, _, _ in _looks(found)], rotation=30, ha="right")


def _predicted(shown: xr.Dataset, ax: Axes | None) -> Axes:
    """The predicted region: shaded where runs are to leave, dashed where growth begins without negative curvature."""
    if ax is None:
        ax = new_figure(6.4, 4.4, shown).subplots()
    across, up = shown.rate_axis, shown.coupling_axis
    ax.contourf(
        across, up, np.log(shown.predicted_region.clip(1e-3, 1e9)), levels=[np.log(FACTOR), 30], colors=[_UNSTABLE]
    )
    if float(shown.log_growth.min()) <= _BEGINS < float(shown.log_growth.max()):
        growing = shown.log_growth.clip(max=10.0)
        ax.contour(across, up, growing, levels=[_BEGINS], colors="0.45", linestyles="dashed", linewidths=1.0)
    ax.set(xscale=across.attrs["scale"], yscale=up.attrs["scale"])
    ax.set(xlabel=r"learning rate $\eta h_{\max}$", ylabel=_COUPLINGS[up.attrs["parameter"]])
    return ax


def _finish(ax: Axes, shown: xr.Dataset, when: str) -> None:
    """Title and legend, the lines of the prediction among it."""
    who = f"{shown.attrs['algorithm']}, {schedule_name(shown)}, $p = {shown.attrs['p']}$"
    ax.set_title(f"{who}; {_site(shown)}\n{when}")
    predicted = [
        Patch(color=_UNSTABLE, label="predicted\nto leave"),
        Line2D([], [], color="0.45", linestyle="dashed", linewidth=1.0, label="growth begins\n(curvature $\\geq 0$)"),
    ]
    handles, labels = ax.get_legend_handles_labels()
    names = [*labels, *(str(each.get_label()) for each in predicted)]
    ax.figure.legend([*handles, *predicted], names, loc="outside right upper")
