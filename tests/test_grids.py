"""Maps over grids: in memory, and lazily over dask."""

import math
import subprocess
import sys

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr

from easgd_theory import (
    ADMM,
    EAMSGD,
    EASGD,
    MDOWNPOUR,
    SGD,
    RoundRobin,
    Synchronous,
    grids,
    spectral_radius,
    stability_map,
)

nan = math.nan
ONE = Synchronous(p=1)


def test_a_map_spans_the_grid_of_its_arrays():
    eta, rho = np.linspace(0.0005, 0.01, 6), np.linspace(0.5, 10, 5)
    grid = stability_map(ADMM(eta=eta, rho=rho), RoundRobin(p=8))
    assert grid["spectral_radius"].dims == grid["stable"].dims == ("eta", "rho")
    np.testing.assert_array_equal(grid["eta"], eta)
    np.testing.assert_array_equal(grid["rho"], rho)
    np.testing.assert_array_equal(grid["spectral_radius"], spectral_radius(ADMM(eta[:, None], rho), RoundRobin(p=8)))
    np.testing.assert_array_equal(grid["stable"], grid["spectral_radius"] <= 1 + 1e-9)
    assert grid["stable"].dtype == bool
    one = grid["spectral_radius"].sel(eta=0.01, rho=0.5).item()
    assert one == pytest.approx(spectral_radius(ADMM(0.01, 0.5), RoundRobin(p=8)), rel=1e-12)
    assert 0 < int(grid["stable"].sum()) < grid["stable"].size


def test_axes_may_be_tuples():
    one, two = (stability_map(EASGD(kind((0.1, 0.2)), 0.1), ONE, h=kind((1.0, 2.0, 3.0))) for kind in (tuple, list))
    assert one.identical(two)


def test_a_map_keeps_what_it_was_made_from():
    grid = stability_map(EAMSGD(eta=[0.1, 0.2, 0.3], alpha=0.1, delta=0.9), RoundRobin(p=4, tau=3), h=2.0)
    assert dict(grid.sizes) == {"eta": 3}
    expected = {"algorithm": "EAMSGD", "schedule": "RoundRobin", "p": 4, "tau": 3, "alpha": 0.1, "delta": 0.9, "h": 2.0}
    assert expected.items() <= grid.attrs.items()
    assert "eta" not in grid.attrs
    assert grid.attrs["easgd_version"]
    assert stability_map(MDOWNPOUR([0.1, 0.2], 0.9, nesterov=True), RoundRobin(p=2)).attrs["nesterov"] == 1


def test_the_curvature_may_span_the_grid():
    h = np.array([-1.0, 0.5, 1.0, 3.0])
    grid = stability_map(EASGD(eta=[0.5, 1.0], alpha=0.3), Synchronous(p=3), h=h)
    assert grid["spectral_radius"].dims == ("eta", "h")
    np.testing.assert_array_equal(grid["h"], h)
    assert "h" not in grid.attrs
    only = stability_map(SGD(eta=1.0), ONE, h=h)
    assert only["stable"].dims == ("h",)
    assert only["stable"].values.tolist() == [False, True, True, False]


def test_a_map_is_written_and_read_back(tmp_path):
    grid = stability_map(EASGD(eta=[0.5, 1.0], alpha=[0.1, 0.2]), RoundRobin(p=3))
    grid.to_netcdf(tmp_path / "region.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "region.nc", engine="h5netcdf") as back:
        xr.testing.assert_identical(back.load(), grid)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: stability_map(EASGD(eta=0.1, alpha=0.1), RoundRobin(p=2)), ["1-D array"]),
        (lambda: stability_map(EASGD(eta=[], alpha=0.1), RoundRobin(p=2)), ["eta", "non-empty", "(0,)"]),
        (lambda: stability_map(EASGD(eta=np.ones((2, 2)), alpha=0.1), RoundRobin(p=2)), ["eta", "1-D", "(2, 2)"]),
        (lambda: stability_map(EASGD(eta=[0.1], alpha=0.1), RoundRobin(p=2), h=[]), ["h", "non-empty"]),
        (lambda: stability_map(EASGD(eta=[0.1]), RoundRobin(p=2)), ["EASGD", "alpha"]),
        (lambda: stability_map(EASGD(eta=[0.1, nan], alpha=0.1), RoundRobin(p=2)), ["eta", "finite"]),
        (lambda: stability_map(EASGD(eta=["a", "b"], alpha=0.1), RoundRobin(p=2)), ["eta", "real number"]),
        (lambda: stability_map(EASGD(eta=[0.1], alpha="x"), RoundRobin(p=2)), ["alpha", "real number"]),
        (lambda: stability_map(EASGD(eta=[0.1], alpha=0.1), RoundRobin()), ["RoundRobin", "p"]),
        (lambda: stability_map(EASGD(eta=[0.1], alpha=0.1), "round_robin"), ["schedule", "round_robin"]),
        (lambda: stability_map(EASGD, RoundRobin(p=2)), ["1-D array"]),
        (lambda: stability_map(SGD(eta=[0.1, 0.2]), RoundRobin(p=2)), ["SGD", "p=2"]),
    ],
    ids=[
        "scalars",
        "empty",
        "2-D",
        "empty_h",
        "missing",
        "nan",
        "text",
        "text_scalar",
        "no_p",
        "schedule",
        "class",
        "sgd",
    ],
)
def test_a_bad_map_is_refused(call, words, refused):
    refused(call, *words)


# Lazily


ETA, ALPHA, H = np.linspace(0.01, 2, 17), np.linspace(0.01, 1.5, 11), np.array([-0.5, 0.5, 1.0, 1.5, 3.0])


def same(lazy, eager):
    """Equal but for the last digits, in which it shows at whose neighbour's roots a point's search began."""
    xr.testing.assert_identical(lazy.drop_vars("spectral_radius"), eager.drop_vars("spectral_radius"))
    assert lazy.spectral_radius.attrs == eager.spectral_radius.attrs
    xr.testing.assert_allclose(lazy.spectral_radius, eager.spectral_radius, rtol=1e-11, atol=0)


def threads(lazy):
    return lazy.compute(scheduler="threads", num_workers=8)


def test_a_lazy_map_is_the_map():
    lazy = stability_map(EASGD(da.from_array(ETA, chunks=5), da.from_array(ALPHA, chunks=4)), RoundRobin(p=300))
    assert all(dask.is_dask_collection(variable.data) for variable in lazy.data_vars.values())
    assert lazy.chunksizes == {"eta": (5, 5, 5, 2), "alpha": (4, 4, 3)}
    same(threads(lazy), stability_map(EASGD(ETA, ALPHA), RoundRobin(p=300)))


@pytest.mark.parametrize("schedule", [Synchronous(p=4, tau=3), RoundRobin(p=3), RoundRobin(p=300)], ids=str)
def test_a_lazy_map_in_three_dimensions(schedule):
    h = xr.DataArray(da.from_array(H, chunks=2), dims="mode")
    lazy = stability_map(EASGD(eta=da.from_array(ETA, chunks=6), alpha=ALPHA), schedule, h)
    assert lazy.stable.dims == ("eta", "alpha", "h")
    assert lazy.chunksizes == {"eta": (6, 6, 5), "alpha": (11,), "h": (2, 2, 1)}
    same(threads(lazy), stability_map(EASGD(eta=ETA, alpha=ALPHA), schedule, H))


def test_coordinates_of_a_dataset_span_a_lazy_map():
    runs = xr.Dataset(coords={"rate": ("run", ETA), "moving": ("run", ETA / 2)}).chunk(run=10)
    lazy = stability_map(EAMSGD(eta=runs.rate, alpha=runs.moving, delta=0.9), RoundRobin(p=300))
    assert lazy.chunksizes == {"eta": (10, 7), "alpha": (10, 7)}
    same(lazy.compute(), stability_map(EAMSGD(eta=ETA, alpha=ETA / 2, delta=0.9), RoundRobin(p=300)))


def test_scalars_of_dask_are_scalars():
    grid = stability_map(EASGD(eta=da.from_array(ETA, chunks=5), alpha=da.ones(())), Synchronous(p=3))
    assert grid.attrs["alpha"] == 1.0
    same(grid.compute(), stability_map(EASGD(eta=ETA, alpha=1.0), Synchronous(p=3)))


def test_what_is_not_asked_for_is_not_computed(monkeypatch):
    sizes = []

    def counted(rule, schedule, h):
        sizes.append(np.broadcast(rule.eta, rule.alpha, h).size)
        return round_growth(rule, schedule, h)

    round_growth = grids.round_growth
    monkeypatch.setattr(grids, "round_growth", counted)
    many = da.linspace(0.001, 2, 10_000, chunks=100)
    lazy = stability_map(EASGD(eta=many, alpha=many), Synchronous(p=4))
    assert sum(sizes) == 1  # a corner, so that what is wrong is said at once
    sizes.clear()
    lazy.spectral_radius[150:160, 5050:5150].compute()
    assert sizes == [100 * 100] * 2


def test_a_lazy_map_is_written_chunk_by_chunk(tmp_path):
    lazy = stability_map(EASGD(da.from_array(ETA, chunks=5), ALPHA), Synchronous(p=3))
    lazy.to_zarr(tmp_path / "map.zarr", consolidated=False)
    back = xr.open_zarr(tmp_path / "map.zarr", chunks=None, consolidated=False).load()
    same(back[list(lazy)], stability_map(EASGD(ETA, ALPHA), Synchronous(p=3)))


def test_many_threads_compute_a_map():
    eta, rho = np.linspace(5e-5, 0.01, 48), np.linspace(0.05, 10, 48)
    lazy = stability_map(ADMM(da.from_array(eta, chunks=4), da.from_array(rho, chunks=4)), RoundRobin(p=3000))
    same(threads(lazy), stability_map(ADMM(eta, rho), RoundRobin(p=3000)))


def test_a_map_in_memory_needs_no_dask():
    code = """
import sys
sys.modules["dask"] = None
from easgd_theory import SGD, Synchronous, stability_map
print(stability_map(SGD([0.1, 3.0]), Synchronous(p=1)).stable.values)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[ True False]\n", done.stderr


@pytest.mark.parametrize(
    ("eta", "words"),
    [
        (lambda: da.from_array(np.array([0.1, nan]), chunks=1), ["eta", "finite"]),
        (lambda: da.ones((2, 2)), ["eta", "1-D", "(2, 2)"]),
        (lambda: da.ones(0), ["eta", "non-empty"]),
        (lambda: da.from_array(np.array(["a", "b"]), chunks=1), ["eta", "real number"]),
        (lambda: da.from_array(ETA, chunks=5)[da.from_array(ETA, chunks=5) > 1], ["eta", "compute_chunk_sizes()"]),
    ],
    ids=["nan", "2-D", "empty", "text", "unknown"],
)
def test_a_bad_lazy_axis_is_refused_at_once(eta, words, refused):
    refused(lambda: stability_map(EASGD(eta=eta(), alpha=0.1), RoundRobin(p=2)), *words)


@pytest.mark.parametrize(
    ("rule", "schedule", "words"),
    [
        (EASGD(eta=da.ones(3, chunks=1)), RoundRobin(p=2), ["EASGD", "alpha"]),
        (SGD(eta=da.ones(3, chunks=1)), RoundRobin(p=2), ["SGD", "p=2"]),
        (ADMM(eta=da.ones(3, chunks=1), rho=1.0), RoundRobin(), ["RoundRobin", "p"]),
    ],
    ids=["missing", "undefined", "no_p"],
)
def test_a_bad_lazy_map_is_refused_at_once(rule, schedule, words, refused):
    refused(lambda: stability_map(rule, schedule), *words)
