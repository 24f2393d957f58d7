"""`easgd map`: the spectral radius over two parameters, as a picture and as data."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from easgd_cli.output import PICTURES, check_file, to_json, write_data, write_picture
from easgd_cli.progress import told_how_to_continue
from easgd_cli.question import Question, asked, flag, listed, one_sentence, question_parameters

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

    from easgd_cli.store import MapStore
    from easgd_theory.algorithm import Algorithm
    from easgd_theory.schedules import Schedule

DATA = (".nc", ".csv", ".zarr")
LARGEST_GRID = 2**24
LARGEST_STORE = 2**32
_CHUNKS = 64
_MOST_PIXELS = 1024  # along an axis: the picture has no more


@dataclass(frozen=True)
class Axis:
    """One axis of a map: `count` values from `start` to `stop`, both included."""

    name: str
    start: float
    stop: float
    count: int
    spacing: str = "linear"

    def values(self) -> np.ndarray:
        """The values along the axis."""
        import numpy as np

        space = np.geomspace if self.spacing == "log" else np.linspace
        return space(self.start, self.stop, self.count)

    def record(self) -> dict[str, Any]:
        """The axis for JSON."""
        return {
            "name": self.name,
            "start": self.start,
            "stop": self.stop,
            "count": self.count,
            "spacing": self.spacing,
        }


class AxisType(click.ParamType):
    """NAME:START:STOP:COUNT, with :log for a geometric axis."""

    name = "name:start:stop:count[:log]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Axis:
        """Read an axis."""
        if isinstance(value, Axis):
            return value
        option = param.opts[0] if param else "the axis"
        fields = value.split(":")

        def refuse(reason: str) -> click.UsageError:
            return click.UsageError(f"{option} {value!r}: {reason}")

        if len(fields) not in (4, 5):
            raise refuse("an axis is NAME:START:STOP:COUNT, such as eta:0:0.01:256, with :log for a geometric one")
        name = fields[0]
        if _is_number(name):
            raise refuse(f"an axis begins with a parameter's name, such as eta:0:0.01:256, got {name!r}")
        if name in ("p", "tau"):
            raise refuse(f"an axis is over a parameter or h; {name} is the schedule's, give it as --{name}")
        for word, text in zip(("START", "STOP"), fields[1:3], strict=True):
            if not _is_number(text):
                raise refuse(f"{word} must be a finite number, got {text!r}")
        start, stop = float(fields[1]), float(fields[2])
        if not start < stop:
            raise refuse(f"START must be below STOP, got {fields[1]} and {fields[2]}")
        if not fields[3].isdecimal() or int(fields[3]) < 2:
            raise refuse(f"COUNT must be a whole number of at least 2, got {fields[3]!r}")
        spacing = fields[4] if len(fields) == 5 else "linear"
        if spacing not in ("linear", "log"):
            raise refuse(f"the fifth field must be log or linear, got {spacing!r}")
        if spacing == "log" and start <= 0:
            raise refuse(f"START must be positive on a log axis, got {fields[1]}")
        return Axis(name, start, stop, int(fields[3]), spacing)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


@dataclass(frozen=True)
class Job:
    """A map to compute: what is asked, over which axes, written where."""

    question: Question
    x: Axis
    y: Axis
    picture: Path | None
    data: Path | None

    @property
    def is_stored(self) -> bool:
        """Whether the map goes to a store that is filled piece by piece, and not through memory."""
        return self.data is not None and self.data.suffix.lower() == ".zarr"

    def check(self) -> tuple[Algorithm, Schedule]:
        """Refuse what cannot be computed or written, before anything is; the record and the schedule otherwise."""
        algorithm = self.question.algorithm
        axes = {"--x": self.x, "--y": self.y}
        known = (*algorithm.parameters(), "h")
        for option, axis in axes.items():
            if axis.name not in known:
                takes = f"a parameter of {algorithm.__name__}, {listed(known, 'or')}"
                raise click.UsageError(f"{option} must be over {takes}, got {axis.name!r}")
            given = self.question.h if axis.name == "h" else self.question.values.get(axis.name)
            if given is not None:
                raise click.UsageError(f"{axis.name} is given twice: as {option} and as {flag(axis.name)} {given:g}")
        if self.x.name == self.y.name:
            raise click.UsageError(f"--x and --y must be over two parameters, got {self.x.name} twice")
        self._check_size()
        schedule = self.question.schedule()
        record = self.question.record(varying={self.x.name, self.y.name})
        if self.picture:
            check_file("-o", self.picture, PICTURES)
        if self.data and not self.is_stored:  # what a store must be is known to easgd_cli.store
            check_file("--data", self.data, DATA)
        return record, schedule

    def _check_size(self) -> None:
        got = f"got {self.x.count} x {self.y.count}"
        if max(self.x.count, self.y.count) > LARGEST_GRID:
            raise click.UsageError(f"--x and --y may have up to {LARGEST_GRID} values each, {got}")
        if self.x.count * self.y.count > (LARGEST_STORE if self.is_stored else LARGEST_GRID):
            raise click.UsageError(
                f"--x and --y may span up to {LARGEST_GRID} points, {LARGEST_STORE} where --data ends in .zarr, {got}"
            )


def block(job: Job, algorithm: Algorithm, schedule: Schedule, xs: np.ndarray, ys: np.ndarray) -> xr.Dataset:
    """The map over some of the values of the axes."""
    from easgd_theory.grids import stability_map

    values = {job.x.name: xs, job.y.name: ys}
    h = values.pop("h", job.question.curvature)
    with one_sentence():
        return stability_map(replace(algorithm, **values), schedule, h)  # type: ignore[type-var]


def compute(job: Job, algorithm: Algorithm, schedule: Schedule) -> xr.Dataset:
    """The map, with dimensions (y, x); a bar shows the progress along y."""
    import numpy as np
    import xarray as xr

    from easgd_cli.progress import progress

    parts = np.array_split(job.y.values(), min(_CHUNKS, job.y.count))
    grids = []
    with progress("map", len(parts)) as bar:
        for part in parts:
            grids.append(block(job, algorithm, schedule, job.x.values(), part))
            bar.advance()
    return xr.concat(grids, job.y.name, combine_attrs="override").transpose(job.y.name, job.x.name)


def stored(job: Job, algorithm: Algorithm, schedule: Schedule) -> MapStore:
    """The store of the map, which may hold a part of it, or all of it."""
    from easgd_cli.store import open_store
    from easgd_theory.grids import map_attributes

    assert job.data is not None
    axes = {axis.name: axis.values() for axis in (job.y, job.x)}
    given = {name: values for name, values in axes.items() if name != "h"}
    h = axes.get("h", job.question.curvature)
    return open_store(job.data, axes, map_attributes(replace(algorithm, **given), schedule, h))  # type: ignore[type-var]


def fill(job: Job, algorithm: Algorithm, schedule: Schedule, store: MapStore) -> None:
    """Compute and store what is missing, tile by tile."""
    from easgd_cli.progress import progress

    xs, ys = job.x.values(), job.y.values()
    missing = store.missing()
    done = store.total - len(missing)
    if done:
        rest = "continuing" if missing else "nothing is left to compute"
        click.echo(f"easgd: {str(store.path)!r} holds {done} of {store.total} tiles, {rest}", err=True)
    with progress("map", store.total, done) as bar:
        for tile in missing:
            store.write(tile, block(job, algorithm, schedule, xs[tile[job.x.name]], ys[tile[job.y.name]]))
            bar.advance()


def draw(job: Job, grid: xr.Dataset, path: Path) -> None:
    """Write the picture of a map."""
    from figures.draw import stability_map

    axes = stability_map(_as_pixels(grid), x=job.x.name, y=job.y.name)
    axes.set(xscale=job.x.spacing, yscale=job.y.spacing)
    write_picture(axes, path)


def _as_pixels(grid: xr.Dataset) -> xr.Dataset:
    """The grid, or evenly spread points of it where it has more than a picture can show, in memory."""
    import numpy as np

    shown = {
        name: np.linspace(0, size - 1, min(size, _MOST_PIXELS)).round().astype(int) for name, size in grid.sizes.items()
    }
    return grid.isel(shown).load()


def totals(parts: Iterable[xr.Dataset]) -> dict[str, Any]:
    """What is said of a map as a whole, from its parts."""
    import numpy as np

    points, stable, radii = 0, 0, []
    for part in parts:
        points += part.stable.size
        stable += int(part.stable.sum())
        values = part.spectral_radius.values
        radii.append((np.fmin.reduce(values, axis=None), np.fmax.reduce(values, axis=None)))
    low, high = zip(*radii, strict=True)
    return {
        "stable_share": stable / points,
        "spectral_radius": {"min": float(np.fmin.reduce(low)), "max": float(np.fmax.reduce(high))},
    }


def summary(job: Job, grid: xr.Dataset, found: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """What `--json` prints; `found` are the map's `totals`."""
    return {
        "algorithm": grid.attrs["algorithm"],
        "schedule": job.question.schedule_name,
        "p": grid.attrs["p"],
        "tau": grid.attrs["tau"],
        "parameters": dict(job.question.values),
        "h": None if "h" in (job.x.name, job.y.name) else job.question.curvature,
        "x": job.x.record(),
        "y": job.y.record(),
        **found,
        "picture": job.picture and str(job.picture),
        "data": job.data and str(job.data),
        "seconds": round(seconds, 3),
    }


def command() -> click.Command:
    """Build the command."""
    own: list[click.Parameter] = [
        click.Option(["--x"], type=AxisType(), help="The axis across (required)."),
        click.Option(["--y"], type=AxisType(), help="The axis up (required)."),
        click.Option(
            ["-o", "--output"], type=click.Path(path_type=Path), help=f"The picture: {listed(PICTURES, 'or')}."
        ),
        click.Option(
            ["--data"],
            type=click.Path(path_type=Path),
            help=f"The numbers: {listed(DATA, 'or')}. A .zarr store may be larger than memory, and is continued where "
            "it was stopped.",
        ),
        click.Option(["--json", "as_json"], is_flag=True, help="Print the summary as JSON."),
    ]
    return click.Command("map", params=[*question_parameters(), *own], callback=_run, help=_HELP)


_HELP = """Draw the spectral radius of one round of ALGORITHM over two parameters.

An axis is NAME:START:STOP:COUNT, with :log at its end for a geometric one; NAME is a parameter or h. The other
parameters are flags.

\b
Example: easgd map admm --p 8 --x rho:0:10:256 --y eta:0:0.01:256 -o region.png
"""


def _kept(store: MapStore) -> str:
    done = store.total - len(store.missing())
    return f"{str(store.path)!r} holds {done} of {store.total} tiles"


@click.pass_context
def _run(
    context: click.Context, x: Axis | None, y: Axis | None, output: Path | None, data: Path | None, as_json: bool
) -> None:
    question = asked(context)
    if x is None or y is None:
        missing = "--x" if x is None else "--y"
        raise click.UsageError(f"{missing} is missing: NAME:START:STOP:COUNT, such as {missing} eta:0:0.01:256")
    if output is None and data is None and not as_json:
        raise click.UsageError("the map goes nowhere: give -o PICTURE, --data FILE or --json")
    job = Job(question, x, y, output, data)
    algorithm, schedule = job.check()
    began = time.perf_counter()
    if job.is_stored:
        store = stored(job, algorithm, schedule)
        with told_how_to_continue(partial(_kept, store)):
            fill(job, algorithm, schedule, store)
            grid, found = store.dataset(), totals(store.parts())
    else:
        grid = compute(job, algorithm, schedule)
        found = totals([grid])
        if data:
            write_data(grid, data)
    if output:
        draw(job, grid, output)
    record = summary(job, grid, found, time.perf_counter() - began)
    if as_json:
        click.echo(to_json(record))
        return
    radius, written = record["spectral_radius"], listed([str(path) for path in (output, data) if path])
    click.echo(
        f"{record['algorithm']}, p={record['p']}: {100 * record['stable_share']:.1f}% of {x.count} x {y.count} points "
        f"stable, radius {radius['min']:.6g} to {radius['max']:.6g}, {record['seconds']:.1f} s; wrote {written}"
    )
