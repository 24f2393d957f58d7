"""Pictures over two parameters: colours, and the line at level 1. They compute nothing."""

from __future__ import annotations

from typing import cast

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import Colormap, LogNorm, Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from easgd_theory.spectrum import TOLERANCE
from figures.style import (
    COLOURS,
    ERROR_COLOURS,
    RADIUS_COLOURS,
    axis_label,
    in_style,
    new_figure,
    parameters,
    schedule_name,
)

LEVEL = 1 + TOLERANCE
"""Where the line is drawn: a radius of 1, the last that counts as stable."""

RADIUS_LABEL = r"spectral radius of one round (stable $\leq 1 <$ diverges)"


def _radius_norm(radius: xr.DataArray) -> Normalize:
    """Colours with their middle at 1: the dark half is stable, the light half diverges; from 2 on all is one colour."""
    low, high = float(radius.min()), float(radius.max())
    return TwoSlopeNorm(1.0, vmin=min(low, 0.999), vmax=np.clip(high, 1.001, 2.0))


def _mesh(ax: Axes, values: xr.DataArray, norm: Normalize, colours: Colormap) -> QuadMesh:
    """A picture of `values`, first dimension up; rasterized, as an SVG of its cells would be huge."""
    up, across = map(str, values.dims)
    return ax.pcolormesh(
        values[across], values[up], values, norm=norm, cmap=colours, shading="nearest", rasterized=True
    )


def _level_line(ax: Axes, radius: xr.DataArray) -> None:
    """The line at level 1, where the picture has both sides of it; its white halo shows on dark colours."""
    up, across = map(str, radius.dims)
    if float(radius.min()) <= LEVEL < float(radius.max()):
        # Contours are interpolated, and a round that overflowed (inf) has nothing to interpolate.
        line = ax.contour(radius[across], radius[up], radius.clip(max=1e3), levels=[LEVEL], colors="black")
        line.set(linewidth=1.5, path_effects=[withStroke(linewidth=3.0, foreground="white")])


def _radius_bar(figure: Figure, mesh: QuadMesh, radius: xr.DataArray, axes: list[Axes]) -> None:
    above = float(radius.max()) > 2.0
    bar = figure.colorbar(mesh, ax=axes, label=RADIUS_LABEL, extend="max" if above else "neither", aspect=25)
    bar.ax.axhline(1.0, color="black", linewidth=1.5)


def _frame(ax: Axes, across: xr.DataArray, up: xr.DataArray) -> None:
    """Labels, and limits at the outermost points: the cells around those reach further."""
    ax.set(xlim=(float(across.min()), float(across.max())), xlabel=axis_label(str(across.name)))
    ax.set(ylim=(float(up.min()), float(up.max())), ylabel=axis_label(str(up.name)))


@in_style
def stability_map(grid: xr.Dataset, ax: Axes | None = None, x: str | None = None, y: str | None = None) -> Axes:
    r"""Draw a map made by `easgd_theory.stability_map`: colours and the line at level 1, or in one dimension a curve.

    Parameters
    ----------
    grid : xarray.Dataset
        `spectral_radius` over one or two dimensions; those of one point do not count.
    ax : Axes, optional
        Where to draw; by default the axes of a new figure.
    x, y : str, optional
        Which dimension goes across and which up; by default the second and the first.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        More than two dimensions, or `x` and `y` that are not the map's.

    Examples
    --------
    >>> import numpy as np
    >>> from easgd_theory import EASGD, RoundRobin, stability_map
    >>> from figures import draw
    >>> grid = stability_map(EASGD(eta=np.linspace(0, 3, 8), alpha=np.linspace(0, 2, 9)), RoundRobin(p=3))
    >>> draw.stability_map(grid, x="eta").get_xlabel()
    'learning rate $\\eta$'
    """
    radius = grid.spectral_radius.squeeze()
    if ax is None:
        ax = new_figure(5.6, 4.2, grid).subplots()
    ax.set_title(f"{grid.attrs['algorithm']}, {schedule_name(grid)}, {parameters(grid)}")
    if radius.ndim == 1:
        return _curve(ax, radius)
    up, across = _directions(radius, x, y)
    radius = radius.transpose(up, across)
    mesh = _mesh(ax, radius, _radius_norm(radius), RADIUS_COLOURS)
    _level_line(ax, radius)
    _radius_bar(cast(Figure, ax.figure), mesh, radius, [ax])
    _frame(ax, radius[across], radius[up])
    return ax


def _directions(radius: xr.DataArray, x: str | None, y: str | None) -> tuple[str, str]:
    """Names of the dimensions that go up and across."""
    names = [str(name) for name in radius.dims]
    if len(names) != 2:
        raise ValueError(f"a map is drawn in one or two dimensions, got {len(names)}: {', '.join(names)}")
    across = x or next(name for name in reversed(names) if name != y)
    up = y or next(name for name in names if name != across)
    if {across, up} != set(names):
        raise ValueError(f"x and y must be the map's dimensions {names[0]} and {names[1]}, got x={x!r}, y={y!r}")
    return up, across


def _curve(ax: Axes, radius: xr.DataArray) -> Axes:
    (across,) = map(str, radius.dims)
    ax.plot(radius[across], radius, color=COLOURS["EASGD"])
    ax.axhline(1.0, color="black", linewidth=1.0)
    ax.set_xlim(float(radius[across].min()), float(radius[across].max()))
    ax.set_xlabel(axis_label(across))
    ax.set_ylabel(RADIUS_LABEL)
    return ax


@in_style
def admm_regions(data: xr.Dataset) -> Figure:
    """Draw `figures.data.admm_regions`, the paper's Figure 1: where round-robin ADMM diverges, one panel for each p."""
    radius, example = data.spectral_radius, data.example_radius
    figure = new_figure(4.2 * data.sizes["p"] + 0.8, 4.0, data)
    axes = figure.subplots(1, data.sizes["p"], sharey=True, squeeze=False)[0]
    norm = _radius_norm(radius)
    for ax, p in zip(axes, data.p.values, strict=True):
        mesh = _mesh(ax, radius.sel(p=p), norm, RADIUS_COLOURS)
        _level_line(ax, radius.sel(p=p))
        _mark_example(ax, example.attrs["eta"], example.attrs["rho"], float(example.sel(p=p)))
        ax.set(title=f"ADMM, round-robin, $p = {p}$", xlim=(0, 10), ylim=(0, 0.01), xlabel=axis_label("rho"))
    axes[0].set_ylabel(axis_label("eta"))
    _radius_bar(figure, mesh, radius, list(axes))
    return figure


def _mark_example(ax: Axes, eta: float, rho: float, radius: float) -> None:
    ax.plot(rho, eta, marker="*", markersize=11, markerfacecolor="white", markeredgecolor="black")
    ax.annotate(
        f"$\\eta = {eta:g}$, $\\rho = {rho:g}$:\n{radius:.5f} a round",
        (rho, eta),
        xytext=(4.5, 0.0078),
        bbox={"boxstyle": "round", "facecolor": "white", "edgecolor": "none"},
        arrowprops={"arrowstyle": "-", "color": "white", "shrinkB": 6},
    )


@in_style
def synchronous_error(data: xr.Dataset) -> Figure:
    """Draw `figures.data.synchronous_error`, the paper's Figure 5: blocks p down, t across."""
    figure = new_figure(8.4, 8.0, data)
    axes = figure.subplots(data.sizes["p"], data.sizes["round"], sharex=True, sharey=True, squeeze=False)
    norm = LogNorm(1e-3, 1e3)
    finite = data.mse.clip(max=1e300)  # matplotlib leaves infinity blank
    for row, p in zip(axes, data.p.values, strict=True):
        for ax, t in zip(row, data["round"].values, strict=True):
            mesh = _mesh(ax, finite.sel({"p": p, "round": t}), norm, ERROR_COLOURS)
            _level_line(ax, data.spectral_radius.sel(p=p))
            ax.set(xlim=(0, 2), ylim=(0, 2), xticks=[0, 1, 2], yticks=[0, 1, 2])
        row[0].set_ylabel(f"$p = {p}$")
    for ax, t in zip(axes[0], data["round"].values, strict=True):
        ax.set_title(r"$t = \infty$" if np.isinf(t) else f"$t = {t:g}$")
    axes[-1, data.sizes["round"] // 2].set_xlabel(axis_label("eta"))
    figure.supylabel(axis_label("beta"), fontsize=10)
    label = "mean squared error of the center (dark red: above 1000, or diverges)"
    figure.colorbar(mesh, ax=axes, label=label, extend="both", aspect=40)
    figure.suptitle("EASGD, synchronous, with gradient noise; line: spectral radius of one round is 1", fontsize=10)
    return figure
