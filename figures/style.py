"""How the figures look, and how they are written: the same data give the same bytes."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.style import context

from easgd_theory.files import atomic

# "default" first: a matplotlibrc of the user's changes nothing.
_LOOK: list[str | dict[str, object]] = [
    "default",
    {
        "font.size": 9.0,
        "axes.titlesize": 10.0,
        "axes.labelsize": 9.0,
        "legend.fontsize": 8.0,
        "legend.frameon": False,
        "xtick.labelsize": 8.0,
        "ytick.labelsize": 8.0,
        "svg.hashsalt": "easgd",
    },
]

in_style = context(_LOOK)
"""Decorator of what draws a figure, and of what writes it: ticks are made as late as that."""

RADIUS_COLOURS = mpl.colormaps["cividis"]
WORKER_COLOURS = mpl.colormaps["plasma"]
# The darkest fifth is left to what is beyond the scale: dark red, and in grey still the darkest.
ERROR_COLOURS = ListedColormap(mpl.colormaps["cividis_r"](np.linspace(0.0, 0.8, 256))).with_extremes(over="#780000")

# A line's colour, style and marker each tell it from the others, so that grey prints do too.
COLOURS = {"EASGD": "#1f4e9c", "EAMSGD": "#2a9d8f", "DOWNPOUR": "#d1651a", "ADMM": "#a31545"}
MARKERS = {"EASGD": "o", "EAMSGD": "s", "DOWNPOUR": "D", "ADMM": "^"}

_LABELS = {
    "eta": r"learning rate $\eta$",
    "rho": r"penalty $\rho$",
    "alpha": r"moving rate $\alpha$",
    "beta": r"moving rate of the center $\beta = p\alpha$",
    "delta": r"momentum $\delta$",
    "h": "curvature $h$",
    "nu": r"outer learning rate $\nu$",
    "mu": r"outer momentum $\mu$",
    "p": "number of workers $p$",
    "tau": r"communication period $\tau$",
    "round": "round",
}
_SYMBOLS = {
    "eta": "η",
    "rho": "ρ",
    "alpha": "α",
    "beta": "β",
    "delta": "δ",
    "nu": "ν",
    "mu": "μ",
    "tau": "τ",
    "sigma": "σ",
}
_SCHEDULES = {
    "RoundRobin": "round-robin",
    "Synchronous": "synchronous",
    "RandomOrder": "random order",
    "Asynchronous": "asynchronous",
}


def axis_label(name: str) -> str:
    """A parameter's name and symbol; the bare name of one that is not known here."""
    return _LABELS.get(name, name)


def schedule_name(data: xr.Dataset) -> str:
    """The schedule of `data`, or several, as prose writes it."""
    names = str(data.attrs["schedule"]).split(", ")
    return ", ".join(_SCHEDULES.get(name, name) for name in names)


def parameters(data: xr.Dataset) -> str:
    """The parameters among the attributes of `data`, such as ``τ = 1, h = 1``."""
    numbers = {name: value for name, value in data.attrs.items() if not isinstance(value, str)}
    shown = {name: f"{value:g}" for name, value in numbers.items()}
    if data.attrs.get("p") == "inf":
        shown = {"p": "∞"} | shown
    return ", ".join(f"{_SYMBOLS.get(name, name)} = {value}" for name, value in shown.items())


def workers_axis(ax: Axes) -> None:
    """Label the axis across, of numbers of workers, with powers of two."""
    powers = [1, 2, 4, 8, 16, 32, 64]
    ax.set_xticks(powers, [str(p) for p in powers])
    ax.minorticks_off()
    ax.set_xlabel(axis_label("p"))


def new_figure(width: float, height: float, data: xr.Dataset) -> Figure:
    """An empty figure of this size in inches; its footer names the version and the parameters of `data`."""
    figure = Figure(figsize=(width, height), layout="constrained")
    footer = f"easgd {data.attrs['easgd_version']} · {data.attrs['algorithm']} · {schedule_name(data)} · "
    # As an outer label, not as free text, so that the layout keeps room for it.
    figure.supxlabel(footer + parameters(data), x=0.99, ha="right", fontsize=6, color="0.45")
    return figure


def figure_of(drawn: Figure | Axes) -> Figure:
    """The figure, or the one that the axes are in."""
    figure = drawn.figure if isinstance(drawn, Axes) else drawn
    assert isinstance(figure, Figure)  # no subfigure: each drawing makes its own
    return figure


@in_style
def render(figure: Figure, suffix: str, dpi: float = 200.0) -> bytes:
    """The figure as the bytes of a file.

    Parameters
    ----------
    figure : Figure
    suffix : {".png", ".svg", ".pdf"}
    dpi : float, default 200
        Pixels per inch of a PNG, and of the images inside an SVG or a PDF.

    Raises
    ------
    ValueError
        Another suffix.
    """
    footer = figure.get_supxlabel()
    metadata: dict[str, dict[str, str | None]] = {
        ".png": {"Description": footer},
        ".svg": {"Description": footer, "Date": None},  # the same data, the same bytes
        ".pdf": {"Subject": footer, "CreationDate": None},
    }
    if suffix not in metadata:
        raise ValueError(f"a figure's file must end in .png, .svg or .pdf, got {suffix!r}")
    buffer = BytesIO()
    figure.savefig(buffer, format=suffix[1:], dpi=dpi, metadata=metadata[suffix])
    return buffer.getvalue()


def write(figure: Figure, path: str | Path, dpi: float = 200.0) -> Path:
    """Write the figure to one file, atomically; suffix and `dpi` are as in `render`."""
    path = Path(path)
    with atomic(path) as temporary:
        temporary.write_bytes(render(figure, path.suffix, dpi))
    return path


def save(figure: Figure, path_without_suffix: str | Path, dpi: float = 200.0) -> tuple[Path, Path]:
    """Write the figure as a .png and as an .svg.

    Parameters
    ----------
    figure : Figure
    path_without_suffix : str or Path
        ``"out/region"`` gives ``out/region.png`` and ``out/region.svg``; the folder exists.
    dpi : float, default 200
        As in `render`.

    Returns
    -------
    (Path, Path)
        The PNG and the SVG.
    """
    return write(figure, f"{path_without_suffix}.png", dpi), write(figure, f"{path_without_suffix}.svg", dpi)
