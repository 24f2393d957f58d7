"""A map in a zarr store: filled tile by tile, and continued where it was stopped."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import xarray as xr
import zarr
from zarr.codecs import ZstdCodec

from easgd_cli.output import check_directory, new_directory

FORMAT = "easgd map 1"
"""Counts the changes of the layout, the size of the tiles included."""

# "done" is written last: what a kill left without it is computed again.
_FILL = {"spectral_radius": np.nan, "stable": False, "certified": False, "done": False}
_LONG_NAME = {"spectral_radius": "spectral radius of one round", "done": "whether it has been computed yet"}
_TILES = 256
_SMALLEST, _LARGEST = 32, 512

Tile = dict[str, slice]
"""The part of a map that is computed and written at once, by dimension."""


def tile_shape(rows: int, columns: int) -> tuple[int, int]:
    """Rows and columns of a tile: what a kill can cost, and what is held in memory.

    About 1/256 of the map, a small share of the work whatever a point costs; but at least 1,024 points, as a file takes
    some time of its own, and at most 262,144, which take some 10 MiB.
    """
    side = 2 ** round(math.log2(math.sqrt(rows * columns / _TILES)))
    side = min(max(side, _SMALLEST), _LARGEST)
    height = min(rows, max(side, side**2 // columns))
    return height, min(columns, side**2 // height)


@dataclass(frozen=True)
class MapStore:
    """An open store that holds the map asked for; made by `open_store`."""

    path: Path
    dimensions: tuple[str, ...]
    arrays: Mapping[str, zarr.Array[Any]]

    @property
    def total(self) -> int:
        """Number of tiles."""
        return math.prod(self.arrays["done"].cdata_shape)

    def missing(self) -> list[Tile]:
        """The tiles that are not computed yet."""
        height, width = self.arrays["done"].chunks
        with _undamaged(self.path):
            done = np.asarray(self.arrays["done"][::height, ::width], dtype=bool)
        return [self._tile(index) for index in np.argwhere(~done)]

    def write(self, tile: Tile, grid: xr.Dataset) -> None:
        """Store a tile; from then on it counts as computed."""
        values = {name: grid[name].transpose(*self.dimensions).values for name in grid}
        values["done"] = np.ones_like(values["stable"])
        for name in _FILL:
            self.arrays[name][tuple(tile.values())] = values[name]

    def dataset(self) -> xr.Dataset:
        """The map; its values are read when they are asked for."""
        return xr.open_zarr(self.path, chunks=None)

    def parts(self) -> Iterator[xr.Dataset]:
        """The map tile by tile, in memory."""
        whole = self.dataset()
        for index in np.ndindex(self.arrays["done"].cdata_shape):
            with _undamaged(self.path):
                part = whole.isel(self._tile(index)).load()
            yield part

    def _tile(self, index: Any) -> Tile:
        corner = zip(self.dimensions, index, self.arrays["done"].chunks, strict=True)
        return {name: slice(int(i) * step, (int(i) + 1) * step) for name, i, step in corner}


def open_store(path: Path, axes: Mapping[str, np.ndarray], attributes: Mapping[str, Any]) -> MapStore:
    """The store at `path`, made if nothing is there.

    Parameters
    ----------
    path : Path
    axes : mapping
        The names of the dimensions, first the one that goes up, and their values.
    attributes : mapping
        What the map is of: `easgd_theory.grids.map_attributes`.

    Raises
    ------
    click.UsageError
        The path holds something else, another map, or a damaged one. It is left as it is.
    """
    identity = {"format": FORMAT, "dimensions": " ".join(axes), **attributes}
    if not path.exists():
        check_directory("--data", path.parent, str(path))
        _create(path, axes, identity)
    group = _opened(path)
    _check_identity(path, dict(group.attrs), identity)
    with _undamaged(path):
        found = {name: _array(group, name) for name in (*axes, *_FILL)}
        values = {name: found[name][:] for name in axes}
    for name, asked in axes.items():
        if not np.array_equal(values[name], asked):
            raise _another(path, f"the values of {name} are others")
    store = MapStore(path, tuple(axes), {name: found[name] for name in _FILL})
    _check_arrays(store, axes)
    return store


def _create(path: Path, axes: Mapping[str, np.ndarray], identity: dict[str, Any]) -> None:
    """An empty store, complete or not there."""
    shape = tuple(len(values) for values in axes.values())
    codec = ZstdCodec(level=1, checksum=True)
    with new_directory(path) as temporary:
        group = zarr.create_group(temporary, attributes=identity)
        for name, values in axes.items():
            group.create_array(name, data=values, chunks=values.shape, dimension_names=(name,), compressors=codec)
        for name, fill in _FILL.items():
            group.create_array(
                name,
                shape=shape,
                dtype=np.asarray(fill).dtype,
                fill_value=fill,
                chunks=tile_shape(*shape),
                dimension_names=tuple(axes),
                attributes={"long_name": _LONG_NAME[name]} if name in _LONG_NAME else {},
                compressors=codec,
            )
        with warnings.catch_warnings():  # it says that this is not in zarr's specification; xarray asks for it
            warnings.simplefilter("ignore")
            zarr.consolidate_metadata(temporary)


def _opened(path: Path) -> zarr.Group:
    try:
        group = zarr.open_group(path, mode="r+", zarr_format=3, use_consolidated=False)
        ours = str(group.attrs.get("format")).startswith("easgd map")
    except Exception:  # zarr has no common error for what it cannot read
        ours = False
    if not ours:
        raise click.UsageError(f"--data must be a new path or a map that easgd began, got {str(path)!r}")
    return group


def _array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    with zarr.config.set({"array.write_empty_chunks": True}):  # so that a file that is not there has been lost
        array = group[name]
    if not isinstance(array, zarr.Array):
        raise TypeError(f"{name} is a group")
    return array


def _check_identity(path: Path, found: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    for name in {**asked, **found}:
        if found.get(name) != asked.get(name):
            there, here = found.get(name, "not given"), asked.get(name, "not given")
            raise _another(path, f"its {name} is {there}, not {here}")


def _check_arrays(store: MapStore, axes: Mapping[str, np.ndarray]) -> None:
    """Every array as it was made, and no file of a computed tile lost."""
    shape = tuple(len(values) for values in axes.values())
    computed = store.total - len(store.missing())
    for name, fill in _FILL.items():
        array = store.arrays[name]
        if (array.shape, array.chunks, array.dtype) != (shape, tile_shape(*shape), np.asarray(fill).dtype):
            raise _damaged(store.path, f"{name} has another shape")
        if array.nchunks_initialized < computed:
            raise _damaged(store.path, f"{name} has lost files")


@contextmanager
def _undamaged(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # zarr has no common error for what it cannot read
        raise _damaged(path, str(error)) from None


def _damaged(path: Path, reason: str) -> click.UsageError:
    return click.UsageError(f"--data {str(path)!r} is damaged ({reason}); to compute it anew, delete it")


def _another(path: Path, reason: str) -> click.UsageError:
    return click.UsageError(f"--data {str(path)!r} holds another map: {reason}; give another path")
