"""Pictures of simulated runs. They compute nothing."""

from __future__ import annotations

from itertools import cycle, islice

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import COLOURS, in_style, new_figure, schedule_name, workers_axis

_OBSERVABLES = {
    "center": r"center $\tilde{x}$",
    "worker_mean": "mean of the workers",
    "loss": "loss of the center",
    "spread": r"spread $|x^i - \tilde{x}|^2$",
}
_MOST_COORDINATES = 8
_HUGE = 1e3
_LARGEST = 1e200  # margins around what is drawn are numbers too


@in_style
def simulation(data: xr.Dataset) -> Figure:
    """Draw what a simulation recorded, one panel above the other.

    Parameters
    ----------
    data : xarray.Dataset
        Some of `center`, `worker_mean` (kind, round, coordinate), `loss`, `spread` (kind, round), where `kind` is the
        mean over the replicas, and the low and the high end of a band around it; attributes as `simulations.simulate`
        gives them. With a coordinate `time` (round,) the seconds in it are the abscissa, else the rounds are.
    """
    along = data["time"] if "time" in data.coords else data["round"]
    names = [name for name in _OBSERVABLES if name in data]
    figure = new_figure(6.4, 1.0 + 2.2 * len(names), data)
    axes = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for ax, name in zip(axes, names, strict=True):
        observable = data[name].clip(-_LARGEST, _LARGEST)
        if "coordinate" in observable.dims:
            for j in islice(range(data.sizes["coordinate"]), _MOST_COORDINATES):
                _band(ax, along, observable.isel(coordinate=j))
            if float(abs(observable).max()) > _HUGE:
                ax.set_yscale("symlog", linscale=2.0)
                ax.yaxis.get_major_locator().set_params(numticks=9)
        else:
            _band(ax, along, observable)
            ax.set_yscale("log" if float(observable.sel(kind="mean").min()) > 0 else "linear")
        ax.set_ylabel(_OBSERVABLES[name])
    replicas = data.attrs["replicas"]
    seconds = "simulated seconds" if replicas == 1 else "simulated seconds, mean of the replicas"
    axes[-1].set(xlabel="round" if along.name == "round" else seconds, xlim=(0, float(along.max()) or 1.0))
    band = f", mean and standard deviation of {replicas} replicas" if replicas > 1 else ""
    axes[0].set_title(f"{data.attrs['algorithm']}, {schedule_name(data)}{band}")
    return figure


def _band(ax: Axes, along: xr.DataArray, observable: xr.DataArray) -> None:
    (line,) = ax.plot(along, observable.sel(kind="mean"), linewidth=1.2)
    low, high = observable.sel(kind="low"), observable.sel(kind="high")
    ax.fill_between(along, low, high, color=line.get_color(), alpha=0.2, linewidth=0)


@in_style
def double_well_trap(data: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw `figures.simulated.double_well_trap`: the fraction of trapped runs against the penalty."""
    if ax is None:
        ax = new_figure(6.4, 4.0, data).subplots()
    for p, colour, marker in zip(data.p.values, cycle(("#1f4e9c", "#d1651a", "#2a9d8f")), cycle("oDs")):
        one = data.sel(p=p)
        ax.plot(data.rho, one.even, color=colour, marker=marker, markersize=4, label=f"$p = {p}$, split evenly")
        if float(one.uneven.max()) > 0:
            label = f"$p = {p}$, more in one well"
            ax.plot(data.rho, one.uneven, "--", color=colour, marker=marker, markersize=4, mfc="none", label=label)
    threshold = data.even.attrs["threshold"]
    ax.axvline(threshold, color="black", linewidth=1.0)
    ax.text(threshold + 0.015, 0.2, "$\\rho = 2/3$: from here on\nno even split is stable")
    ax.set(xlim=(0, 1), ylim=(-0.01, None), xlabel=r"penalty $\rho = \alpha/\eta$", ylabel="fraction of the runs")
    ax.set_title("Trapped on the double well: workers in both minima")
    ax.legend(loc="upper right")
    return ax


@in_style
def center_variance(data: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw `figures.simulated.center_variance`: points are simulated, lines are the theory."""
    if ax is None:
        ax = new_figure(6.4, 4.4, data).subplots()
    colours, sizes = ("#1f4e9c", "#2a9d8f", COLOURS["DOWNPOUR"]), (8.0, 3.5, 5.0)
    for scheme, colour, marker, size in zip(data.scheme.values, colours, "oDs", sizes, strict=True):
        one = data.sel(scheme=scheme)
        ax.plot(data.p, one.theory, color=colour, linewidth=1.0)
        points = ax.errorbar(
            data.p, one.simulated.values, 2 * one.error.values, color=colour, linestyle="", label=scheme
        )
        points[0].set(marker=marker, markersize=size, markerfacecolor="none")
        unstable = data.p.values[np.isnan(one.theory)]
        if unstable.size:
            text = f"{scheme}:\ndiverges from $p = {unstable[0]}$ on"
            ax.text(0.98, 0.7, text, color=colour, transform=ax.transAxes, ha="right")
    ax.set(xscale="log", yscale="log", ylabel="stationary variance of the center")
    workers_axis(ax)
    ax.set_title("Points: simulated, two standard errors; lines: the Lyapunov equation")
    ax.legend(loc="lower left")
    return ax


@in_style
def stragglers(data: xr.Dataset) -> Figure:
    """Draw `figures.simulated.stragglers`: loss against simulated seconds, one panel for each p and tau."""
    figure = new_figure(8.4, 6.6, data)
    axes = figure.subplots(data.sizes["tau"], data.sizes["p"], sharex=True, sharey=True, squeeze=False)
    for row, tau in zip(axes, data.tau.values, strict=True):
        for ax, p in zip(row, data.p.values, strict=True):
            for name in data.algorithm.values:
                loss = data.loss.sel(algorithm=name, p=p, tau=tau).clip(max=_LARGEST)
                ax.plot(data.time, loss, color=COLOURS[name], linewidth=1.6, label=name)
                if float(loss[-1]) > float(loss[0]):
                    ax.text(0.04, 0.06, f"{name} diverges", color=COLOURS[name], transform=ax.transAxes)
        row[0].set_ylabel(f"$\\tau = {tau}$\nloss of the center")
    for ax, p in zip(axes[0], data.p.values, strict=True):
        ax.set_title(f"$p = {p}$")
    for ax in axes[-1]:
        ax.set_xlabel("simulated seconds")
    axes[0, 0].set(xscale="log", yscale="log", xlim=(data.time[0], data.time[-1]), ylim=(2e-5, 20))
    axes[0, -1].legend(loc="upper right")
    figure.suptitle(f"A quarter of the workers are {data.attrs['slowness']:g} times slower")
    return figure
