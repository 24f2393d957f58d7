"""The README's pictures: ``python -m figures.gallery`` computes, draws and writes them anew, in about a minute."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from easgd_theory.files import atomic
from figures import data, draw, simulated
from figures.style import figure_of, render

FOLDER = Path(__file__).parent / "gallery"

# What keeps each file below 100 kB.
_DPI = 100.0
_COLOURS = 192

PICTURES: dict[str, Callable[[], Figure | Axes]] = {
    "admm_regions": lambda: draw.admm_regions(data.admm_regions()),
    "trajectories": lambda: draw.trajectories(simulated.trajectories()),
    "easgd_boundaries": lambda: draw.easgd_boundaries(data.easgd_boundaries()),
    "largest_rates": lambda: draw.largest_rates(data.largest_rates()),
    "limit_regions": lambda: draw.limit_regions(data.limit_regions()),
    "synchronous_error": lambda: draw.synchronous_error(data.synchronous_error()),
    "stragglers": lambda: draw.stragglers(simulated.stragglers()),
    "center_variance": lambda: draw.center_variance(simulated.center_variance()),
    "double_well_trap": lambda: draw.double_well_trap(simulated.double_well_trap()),
}
"""What makes each picture, by the name of its file."""


def main(folder: Path = FOLDER) -> None:
    """Write every picture into `folder`, as ``NAME.png``, and print its path."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in PICTURES.items():
        path = folder / f"{name}.png"
        with atomic(path) as temporary:
            temporary.write_bytes(_small_png(figure_of(make())))
        print(path)


def _small_png(figure: Figure) -> bytes:
    picture = Image.open(BytesIO(render(figure, ".png", _DPI))).convert("RGB")
    buffer = BytesIO()
    picture.quantize(_COLOURS, dither=Image.Dither.NONE).save(buffer, "png", optimize=True)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
