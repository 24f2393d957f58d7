"""Runs side by side on one network: loss and error against wall-clock time, and where the time went."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from figures.style import COLOURS, MARKERS, in_style, new_figure, schedule_name
from figures.validated import rows
from gpu_trainer.comparison import SHARED, curves
from gpu_trainer.stopwatch import KINDS

MEASURES = {"train_loss": "training loss", "test_loss": "test loss", "test_error": "test error"}
_COLOURS = COLOURS | {"MDOWNPOUR": "#7a4fa3", "SGD": "#5b6372", "MSGD": "#8a6d1d"}
_MARKERS = MARKERS | {"MDOWNPOUR": "v", "SGD": "x", "MSGD": "+"}
_LINES = {"Synchronous": ("-", "o"), "RoundRobin": ("--", "s"), "Asynchronous": ("-.", "D")}
_KIND_COLOURS = {"compute": "#1f4e9c", "data": "#8a6d1d", "wait": "#c9ccd3", "communicate": "#d1651a"}


def measured(directory: Path, name: str) -> xr.Dataset:
    """What `gpu_trainer.comparison.compare` left in a directory, of the runs with this name.

    Returns
    -------
    xarray.Dataset
        The columns of the table over ``row``, and over (row, measurement) ``time`` in seconds, ``train_loss_at``,
        ``test_loss_at`` and ``test_error_at`` of the center, nan after a run's last one.
    """
    found = rows(directory / f"{name}.csv", SHARED)
    paths = [curves(directory, run) for run in found.run.values]
    longest = max(map(len, paths))
    columns = {"time": "seconds"} | {f"{name}_at": name for name in MEASURES}
    for at, column in columns.items():
        values = np.full((len(paths), longest), np.nan)
        for row, path in enumerate(paths):
            values[row, : len(path)] = [np.nan if event[column] is None else event[column] for event in path]
        found[at] = (("row", "measurement"), values)
    return found


@in_style
def comparison(found: xr.Dataset) -> Figure:
    """Draw what `measured` returns: a column for each communication period, SGD and MSGD in all of them."""
    periods = sorted({int(tau) for tau in found.tau.values})
    figure = new_figure(2.6 * len(periods) + 2.0, 7.0, found)
    axes = figure.subplots(len(MEASURES), len(periods), sharex=True, sharey="row", squeeze=False)
    for column, tau in enumerate(periods):
        for ax, measure in zip(axes[:, column], MEASURES, strict=True):
            _curves(ax, found, tau, measure)
        axes[0, column].set_title(rf"$\tau = {tau}$")
        axes[-1, column].set_xlabel("seconds")
    for ax, label in zip(axes[:, 0], MEASURES.values(), strict=True):
        ax.set_ylabel(label)
    names = list(dict.fromkeys(found.algorithm.values))
    handles = [Line2D([], [], color=_COLOURS[name], marker=_MARKERS[name], markersize=4, label=name) for name in names]
    handles.append(Line2D([], [], color="#5b6372", linestyle=":", label="predicted unstable"))
    figure.legend(handles=handles, loc="outside right upper")
    p = int(found.p.max())
    figure.suptitle(f"{found.attrs['model']} on {found.attrs['data']}\nasynchronous, {p} workers; SGD, MSGD: one")
    return figure


def _curves(ax: Axes, found: xr.Dataset, tau: int, measure: str) -> None:
    """One measure of the runs with this period, and of those without one."""
    for row in np.flatnonzero((found.tau.values == tau) | (found.p.values == 1)):
        name, time = str(found.algorithm.values[row]), found.time.values[row]
        line = ":" if str(found.predicted_stable.values[row]) == "False" else "-"
        values = found[f"{measure}_at"].values[row]
        ax.plot(time, values, line, color=_COLOURS[name], marker=_MARKERS[name], markersize=3.0, linewidth=1.0)
    _logarithmic(ax)


def _logarithmic(ax: Axes) -> None:
    """A logarithmic axis with plain numbers, of values within a decade or two."""
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.grid(alpha=0.3, which="both", linewidth=0.4)


@in_style
def times(found: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw where the seconds of a worker went, run by run."""
    if ax is None:
        ax = new_figure(7.0, 0.28 * found.sizes["row"] + 1.2, found).subplots()
    left, places = np.zeros(found.sizes["row"]), np.arange(found.sizes["row"])
    for kind in KINDS:
        ax.barh(places, found[f"{kind}_seconds"].values, left=left, color=_KIND_COLOURS[kind], label=kind, height=0.7)
        left = left + found[f"{kind}_seconds"].values
    ax.set_yticks(places, found.run.values)
    ax.invert_yaxis()
    ax.set_xlabel("seconds of a worker, on average")
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return ax


@in_style
def schedules(found: xr.Dataset) -> Figure:
    """Draw the test error of `measured` runs on several schedules; with one slow worker in a panel of its own."""
    figure = new_figure(8.0, 3.6, found)
    axes = figure.subplots(1, 2, sharey=True)
    slow = found.slowest.values > 0
    titles = ("workers alike", f"each step of one worker takes {found.slowest.values.max():g} s longer")
    for ax, which, title in zip(axes, (~slow, slow), titles, strict=True):
        for row in np.flatnonzero(which):
            name = str(found.schedule.values[row])
            line, mark = _LINES[name]
            label = schedule_name(found.assign_attrs(schedule=name))
            values = found.test_error_at.values[row]
            ax.plot(found.time.values[row], values, line, marker=mark, markersize=3.0, linewidth=1.0, label=label)
        ax.set_title(title)
        ax.set_xlabel("seconds")
        _logarithmic(ax)
    axes[0].set_ylabel("test error of the center")
    axes[0].legend()
    attributes = f"{found.attrs['model']} on {found.attrs['data']}"
    figure.suptitle(f"EASGD, {int(found.p.max())} workers, τ = {found.tau.values[0]:g}: {attributes}")
    return figure
