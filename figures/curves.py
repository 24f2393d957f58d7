"""Pictures of curves: trajectories, boundaries, thresholds. They compute nothing."""

from __future__ import annotations

from itertools import cycle

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.areas import LEVEL
from figures.style import COLOURS, MARKERS, WORKER_COLOURS, axis_label, in_style, new_figure, workers_axis

# Odd p fall on the paper's line, and so on each other: hollow markers of two sizes show both; even p are lines.
_ODD_LOOKS = [("o", 7.0, "", "#1f4e9c"), ("D", 3.5, "", "#d1651a"), ("s", 5.0, "", "#2a9d8f")]
_EVEN_LOOKS = [("", 0.0, "-", "#a31545"), ("", 0.0, "--", "#a31545"), ("", 0.0, ":", "#a31545")]


@in_style
def trajectories(data: xr.Dataset) -> Figure:
    """Draw `figures.simulated.trajectories`: ADMM's "chaotic" divergence beside EASGD, one panel for each p."""
    figure = new_figure(4.2 * data.sizes["p"], 3.4, data)
    axes = figure.subplots(1, data.sizes["p"], sharey=True, squeeze=False)[0]
    for ax, p in zip(axes, data.p.values, strict=True):
        for name, line_width in (("ADMM", 0.5), ("EASGD", 2.0)):
            radius = float(data.spectral_radius.sel(algorithm=name, p=p))
            verdict = "diverges" if radius > LEVEL else "converges"
            label = f"{name} {verdict}: radius {radius:.5f}"
            center = data.center.sel(algorithm=name, p=p)
            ax.plot(data["round"], center, color=COLOURS[name], linewidth=line_width, label=label)
        ax.set_yscale("symlog", linthresh=0.1)
        ax.set_yticks([-1e8, -1e4, -1, 1, 1e4, 1e8])
        ax.set(title=f"$p = {p}$", xlabel="round ($p$ ticks)", xlim=(0, int(data["round"][-1])))
        for line in ax.legend(loc="upper left").get_lines():
            line.set_linewidth(2.0)
    axes[0].set_ylabel(r"center $\tilde{x}$")
    figure.suptitle("The paper’s “chaotic” example of ADMM, beside EASGD")
    return figure


@in_style
def easgd_boundaries(data: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw `figures.data.easgd_boundaries`: EASGD's stable region, the paper's and the exact one for each p."""
    if ax is None:
        ax = new_figure(6.4, 4.6, data).subplots()
    ax.fill_between(data.eta, data.paper, color="0.88", linewidth=0)
    ax.plot(data.eta, data.paper, color="black", label=r"$\alpha = (4-2\eta h)/(4-\eta h)$, the paper's")
    ax.text(1.02, 0.35, "stable for\nevery $p$", ha="left")
    inset = ax.inset_axes((0.10, 0.12, 0.38, 0.36))
    odd_looks, even_looks = cycle(_ODD_LOOKS), cycle(_EVEN_LOOKS)
    for p in data.p.values:
        marker, size, line, colour = next(odd_looks if p % 2 else even_looks)
        for panel, values in ((ax, data.exact), (inset, data.excess)):
            (drawn,) = panel.plot(data.eta, values.sel(p=p), linestyle=line, color=colour, label=f"exact, $p = {p}$")
            drawn.set(marker=marker, markersize=size, markerfacecolor="none", markevery=4)
    inset.set_title("exact minus the paper's", fontsize=8)
    ax.set(xlim=(0, 2), ylim=(0, 1.05), xlabel=r"$\eta h$, learning rate times curvature", ylabel=axis_label("alpha"))
    ax.set_title("EASGD, round-robin: stable up to the line")
    ax.legend(loc="upper right")
    return ax


@in_style
def largest_rates(data: xr.Dataset) -> Figure:
    """Draw `figures.data.largest_rates`: largest stable learning rates against p, and ADMM's smallest."""
    figure = new_figure(9.0, 3.8, data)
    left, right = figure.subplots(1, 2)
    alpha, delta, rho = (data.attrs[name] for name in ("alpha", "delta", "rho"))
    labels = {"EASGD": rf", $\alpha = {alpha:g}$", "EAMSGD": rf", $\alpha = {alpha:g}$, $\delta = {delta:g}$"}
    for name in data.algorithm.values:
        line = "" if name == "DOWNPOUR" else "-"  # its line is the closed form
        values = data.largest_rate.sel(algorithm=name)
        (drawn,) = left.plot(data.p, values, linestyle=line, color=COLOURS[name], label=name + labels.get(name, ""))
        drawn.set(marker=MARKERS[name], markersize=5)
    form = r"$2\,\sin(\pi/(4p-2))$"
    left.plot(data.p, data.closed_form, color=COLOURS["DOWNPOUR"], linewidth=0.8, label=form)
    left.set(xscale="log", yscale="log", ylabel=r"largest stable $\eta h$", title="Stable below the points")
    rates = [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2]
    left.set_yticks(rates, [f"{rate:g}" for rate in rates])
    left.legend(loc="lower left")
    right.plot(data.p, data.admm_threshold, marker=MARKERS["ADMM"], color=COLOURS["ADMM"])
    right.set(xscale="log", xlim=left.get_xlim(), ylim=(0, None), ylabel=r"smallest stable $\eta h$")
    right.set_title(rf"ADMM, $\rho = {rho:g}$: diverges below the points")
    if none := ", ".join(str(p) for p in data.p.values[np.isnan(data.admm_threshold)]):
        right.text(0.03, 0.05, f"$p$ = {none}: none, stable down to 0", transform=right.transAxes)
    for ax in (left, right):
        workers_axis(ax)
    return figure


@in_style
def limit_regions(data: xr.Dataset) -> Figure:
    """Draw `figures.data.limit_regions`: the regions for growing p, and dashed the limit of infinitely many workers."""
    figure = new_figure(8.4, 6.6, data)
    (easgd, eamsgd), (admm, downpour) = figure.subplots(2, 2)
    _edges(easgd, data.rate, data.easgd)
    easgd.set(title="EASGD: stable below", xlabel=r"$\eta h$", ylabel=axis_label("alpha"), xlim=(0, 2), ylim=(0, 1.05))
    easgd.text(0.04, 0.06, "every odd $p$ lies on the limit", transform=easgd.transAxes)
    _edges(eamsgd, data.momentum_rate, data.eamsgd)
    period = rf"$\delta = {data.attrs['delta']:g}$, $\tau = {data.attrs['tau']:g}$"
    eamsgd.set(title=f"EAMSGD, {period}: stable below", xlabel=r"$\eta h$", ylabel=axis_label("alpha"))
    eamsgd.set(xlim=(0, 1.4), ylim=(0, 2.05))
    _edges(admm, data.penalty, data.admm)
    admm.set(title="ADMM: diverges below", xlabel=r"$\eta\rho$", ylabel=r"$\eta h$", xlim=(0, 0.028), ylim=(0, 0.007))
    _no_region(admm, data.p.values[np.isnan(data.penalty).all("share")])
    finite = data.isel(p=slice(0, -1))
    downpour.plot(finite.p, np.pi / (2 * finite.p), color="black", linestyle="--", label=r"$\pi/(2p) \to 0$")
    (drawn,) = downpour.plot(finite.p, finite.downpour, color=COLOURS["DOWNPOUR"], linestyle="", label="exact")
    drawn.set(marker=MARKERS["DOWNPOUR"])
    downpour.set(xscale="log", yscale="log", xlabel=axis_label("p"), ylabel=r"$\eta h$", title="DOWNPOUR: stable below")
    downpour.legend(loc="upper right")
    handles, labels = easgd.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return figure


def _edges(ax: Axes, across: xr.DataArray, edges: xr.DataArray) -> None:
    """One line for each p, the limit dashed over all others."""
    finite = edges.sizes["p"] - 1
    for i, p in enumerate(edges.p.values):
        x = across.isel(p=i) if "p" in across.dims else across
        if i == finite:
            ax.plot(x, edges.isel(p=i), color="black", linestyle=(0, (3, 2)), linewidth=2.0, label=r"$p = \infty$")
        else:
            colour = WORKER_COLOURS(0.9 * (1 - i / finite))
            style = ":" if p == 1 else "-"
            ax.plot(x, edges.isel(p=i), style, color=colour, linewidth=1.6, label=f"$p = {_power(p)}$")


def _no_region(ax: Axes, p: np.ndarray) -> None:
    if p.size:
        ax.text(0.97, 0.93, f"$p$ = {', '.join(map(_power, p))}: nowhere", transform=ax.transAxes, ha="right")


def _power(number: float) -> str:
    exponent = round(np.log10(number))
    return f"10^{exponent}" if exponent > 2 and number == 10**exponent else f"{number:g}"
