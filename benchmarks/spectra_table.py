"""Write the measurements of `spectra_benchmark.py` into docs/benchmarks.md: `spectra_table.py FILE.json`."""

import json
import re
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
METHODS = {
    "test_certified": "**certified**, `easgd_theory`",
    "test_dense": "`numpy.linalg.eigvals`",
    "test_polynomial": "`numpy.roots`",
}


def short(number, digits=3):
    """Its first digits, with an exponent only where it is very small or large."""
    if number is None:
        return "—"
    if not 1e-3 <= abs(number) < 1e8:
        return f"{number:.1e}" if number else "0"
    decimals = digits - 1 - int(np.floor(np.log10(abs(number))))
    return f"{round(number, decimals):,.{max(decimals, 0)}f}".replace(",", " ")


def workers(p):
    """10⁶ for a million."""
    return "10⁶" if p == 10**6 else str(p)


def table(head, rows):
    """A Markdown table; texts to the left, numbers to the right."""
    lines = [head, [":---" if name in ("method", "map") else "---:" for name in head], *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


class Run:
    """One benchmark: its times in microseconds per point, and what it noted."""

    def __init__(self, data):
        self.kind = data["name"].partition("[")[0]
        self.note = data["extra_info"]
        scale = 1e6 / self.note["points"]
        self.times = sorted(scale * time for time in data["stats"]["data"])
        self.median, self.low, self.high = scale * data["stats"]["median"], self.times[0], self.times[-1]
        self.p = self.note["p"]

    @property
    def spread(self):
        return f"{short(self.low)} – {short(self.high)}" if len(self.times) > 1 else "one run"


def times(runs, ours):
    """Certified, dense and polynomial."""
    head = ["p", "method", "points", "µs per point", "min – max", "× certified", "largest difference", "memory, MB"]
    rows = []
    for run in sorted(
        (run for run in runs if run.kind in METHODS), key=lambda run: (run.p, list(METHODS).index(run.kind))
    ):
        ratio = "1" if run.kind == "test_certified" else f"**{short(run.median / ours[run.p].median)}**"
        error = short(run.note["error"]) if "error" in run.note else ""
        note = run.note
        rows.append([workers(run.p), METHODS[run.kind], note["points"], short(run.median), run.spread, ratio, error])
        rows[-1].append(short(note.get("megabytes"), 2))
    return table(head, rows)


def without_composing(runs, ours):
    """Ratios to LAPACK alone."""
    parts = []
    for run in sorted((run for run in runs if run.kind == "test_dense"), key=lambda run: run.p):
        alone = run.median - 1e6 * run.note["composing"]
        parts.append(f"p = {run.p}: {short(alone)} µs, {short(alone / ours[run.p].median)} ×")
    return "LAPACK alone, the composing of the maps left out: " + "; ".join(parts) + "."


def arnoldi(runs, ours):
    """`scipy.sparse.linalg.eigs`."""
    head = ["p", "map", "k", "points", "right", "wrong, unnoticed", "no convergence", "stopped"]
    head += ["largest difference", "products per point", "ms per point", "× certified", "memory, MB"]
    rows = []
    for run in (run for run in runs if run.kind == "test_sparse"):
        note = run.note
        row = [workers(run.p), *(note[key] for key in ("map", "k", "points", "right", "wrong", "none", "stopped"))]
        row += [short(note["error"], 2), short(note["products"]), short(run.median / 1e3)]
        rows.append([*row, short(run.median / ours[run.p].median), short(note["megabytes"], 2)])
    return table(head, rows)


def floor(runs, ours):
    """The arithmetic."""
    head = ["p", "f and f′", "f alone", "stretches", "cells", "Taylor shifts"]
    head += ["one f and f′, ns", "coefficients, µs", "floor, µs", "certified, µs", "× floor"]
    rows = []
    for run in (run for run in runs if run.kind == "test_floor"):
        calls = [short(run.note["calls"][name]) for name in ("newton", "values", "stretches", "cells", "shifts")]
        least = 1e6 * run.note["composing"] + 2 * run.low
        total = ours[run.p].median
        row = [workers(run.p), *calls, short(1e3 * run.low), short(1e6 * run.note["composing"]), short(least)]
        rows.append([*row, short(total), short(total / least)])
    return table(head, rows)


def machine(data, runs):
    """Where and with what, and how much of its core the process had."""
    info = data["machine_info"]
    lapack = np.show_config(mode="dicts")["Build Dependencies"]["lapack"]
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "numba"))
    shares = [run.note["share of a core"] for run in runs]
    cpu = f"{info['cpu'].get('brand_raw', info['machine'])}, {info['cpu'].get('count', '?')} cores"
    return (
        f"{data['datetime'][:10]}; {cpu}, of which one thread was used; Python {info['python_version'].split()[0]}, "
        f"{packages}, LAPACK of {lapack['name']} {lapack['version']}. "
        f"The process had {100 * min(shares):.0f} to {100 * max(shares):.0f}% of its core."
    )


def report(data):
    """Everything between the markers."""
    runs = [Run(benchmark) for benchmark in data["benchmarks"]]
    ours = {run.p: run for run in runs if run.kind == "test_certified"}
    growth = short(ours[10**6].median / ours[1000].median)
    failures, points = (sum(run.note[name] for run in ours.values()) for name in ("left to dense", "points"))
    operations = next(run.note["operations"] for run in runs if run.kind == "test_floor")
    return "\n\n".join(
        [
            machine(data, runs),
            "### Against dense eigenvalues and the polynomial",
            times(runs, ours),
            without_composing(runs, ours),
            f"The certificate failed, and dense eigenvalues served, at {failures} of {points} points.",
            f"A 64×64 map at p = 10⁶ takes {growth} times as long as one at p = 1000.",
            "### Against Arnoldi's method, `scipy.sparse.linalg.eigs`",
            arnoldi(runs, ours),
            "### Distance from the floor",
            floor(runs, ours),
            f"One evaluation of f and f′: {operations} real additions and multiplications, and six sines, cosines or "
            "exponentials.",
        ]
    )


def main(path):
    """Replace what stands between the markers."""
    data = json.loads(Path(path).read_text())
    page = PAGE.read_text()
    text, found = re.subn(f"{BEGIN}.*{END}", lambda _: f"{BEGIN}\n\n{report(data)}\n\n{END}", page, flags=re.DOTALL)
    if found != 1:
        raise SystemExit(f"{PAGE} must hold {BEGIN} and {END} once")
    PAGE.write_text(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
