"""How fast simulations run, beside a NumPy loop, JAX, and the floor: the same normals, the same memory, nothing else.

    python benchmarks/simulate.py [--jax PYTHON]

Synchronous EASGD with p = 8 workers and gradient noise, in double precision. All record the same at every round: the
center, the workers' mean, their spread, and the loss; then the center alone. JAX runs in a process of its own; without
``--jax`` a virtual environment is made for it first. All take turns, so that a machine that is busy at times is busy
for all; a turn is as many calls as take a tenth of a second, at least one. Times are medians over the turns of the time
of a call. The table is printed, and written between the marks in docs/simulations.md.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
import venv
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numba
import numpy as np
from numba import njit

from easgd_theory import EASGD, Synchronous
from simulations import Quadratic, Record, simulate
from simulations.streams import fill_in_pairs, lay_out

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "simulations.md"
MARKS = "<!-- measured by benchmarks/simulate.py: begin -->", "<!-- measured by benchmarks/simulate.py: end -->"
HEAD = ("replicas × rounds", "recorded", "`simulate`", "NumPy", "JAX", "JAX compiles in", "floor")
P, ETA, ALPHA, H, SIGMA = 8, 0.1, 0.1, 1.0, 1.0
CASES = [(1, 20_000, True), (1, 20_000, False), (4096, 400, True), (4096, 400, False)]
TURNS, TURN = 9, 0.1  # how many, and seconds of each at least


def ours(replicas, rounds, everything):
    """The simulator, as a user calls it."""
    record = Record(worker_mean=everything, spread=everything, loss=everything)
    rule, objective = EASGD(ETA, ALPHA), Quadratic(H, SIGMA)
    return simulate(rule, Synchronous(P), objective, rounds=rounds, replicas=replicas, record=record)


def numpy_loop(replicas, rounds, everything):
    """Vectorized over workers and replicas."""
    rng = np.random.default_rng(0)
    x, c = np.ones((P, replicas)), np.ones(replicas)
    noise, record = np.empty_like(x), np.empty((4 if everything else 1, rounds + 1, replicas))
    for t in range(rounds + 1):
        record[0, t] = c
        if everything:
            record[1, t] = x.mean(axis=0)
            record[2, t] = ((x - c) ** 2).mean(axis=0)
            record[3, t] = 0.5 * H * c**2
        rng.standard_normal(out=noise)
        elastic = ALPHA * (x - c)
        x -= ETA * (H * x + SIGMA * noise) + elastic
        c = c + elastic.sum(axis=0)
    return record


@njit(cache=True, nogil=True)
def touch(state, noise, record):
    """Read every normal and every variable once, write every variable and every entry of the record once."""
    for t in range(record.shape[1]):
        for e in range(state.size):
            state[e] += noise[t * state.size + e]
        for k in range(record.shape[0]):
            for r in range(record.shape[2]):
                record[k, t, r] = state[r]


def floor(replicas, rounds, everything):
    """The same normals in the same blocks on the same threads."""
    lanes = min(256, replicas)
    size = P * lanes
    window, pairs = 2**16 // size, -(-1024 // size)
    record = np.empty((4 if everything else 1, rounds, replicas))
    addresses = lay_out(np.zeros(1), pairs, P, 1, lanes)

    def run(first):
        state, noise = np.ones(size), np.empty(window * size)
        for t in range(0, rounds, window):
            count = min(window, rounds - t)
            place = map(np.uint64, (pairs, t // 2, first << 24, 0))
            fill_in_pairs(noise[: count * size], *addresses, *place)
            touch(state, noise, record[:, t : t + count, first : first + lanes])

    firsts = range(0, replicas, lanes)
    if len(firsts) == 1:
        run(0)
    else:
        with ThreadPoolExecutor(numba.config.NUMBA_NUM_THREADS) as pool:
            list(pool.map(run, firsts))
    return record


JAX = """
import json, sys, time
import jax
import jax.numpy as jnp
jax.config.update("jax_enable_x64", True)
print(jax.__version__, flush=True)
P, ETA, ALPHA, H, SIGMA = 8, 0.1, 0.1, 1.0, 1.0

def make(replicas, rounds, everything):
    def one(key):
        def step(state, key):
            x, c = state
            seen = (c, x.mean(), ((x - c) ** 2).mean(), 0.5 * H * c**2) if everything else c
            elastic = ALPHA * (x - c)
            x = x - ETA * (H * x + SIGMA * jax.random.normal(key, (P,))) - elastic
            return (x, c + elastic.sum()), seen
        return jax.lax.scan(step, (jnp.ones(P), jnp.float64(1.0)), jax.random.split(key, rounds))[1]
    run = jax.jit(jax.vmap(one))
    return lambda: jax.block_until_ready(run(jax.random.split(jax.random.key(0), replicas)))

runs = {}
for line in sys.stdin:  # a case is compiled and run, or has its turn
    *case, turn = json.loads(line)
    case = tuple(case)
    if case not in runs:
        runs[case] = make(*case)
    start, calls = time.perf_counter(), 0
    while calls == 0 or time.perf_counter() - start < turn:
        runs[case]()
        calls += 1
    print((time.perf_counter() - start) / calls, flush=True)
"""


class Jax:
    """JAX in a process of its own, which runs a case when it is told to."""

    def __init__(self, python):
        self.process = subprocess.Popen(
            [python, "-c", JAX], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.version = self.process.stdout.readline().strip()

    def seconds(self, case, turn):
        """Of one call, in a turn of so many seconds."""
        self.process.stdin.write(json.dumps((*case, turn)) + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


def python_with_jax(folder):
    """The interpreter of a new virtual environment with JAX."""
    venv.create(folder, with_pip=True)
    python = str(Path(folder, "bin", "python"))
    subprocess.run([python, "-m", "pip", "install", "--quiet", "jax"], check=True)
    return python


def seconds(function, case):
    """Of one call, in a turn."""
    start, calls = time.perf_counter(), 0
    while calls == 0 or time.perf_counter() - start < TURN:
        function(*case)
        calls += 1
    return (time.perf_counter() - start) / calls


def cold_starts():
    """Seconds of imports and of the first call of a new process: with an empty cache, and with a full one."""
    code = (
        "import time; start = time.perf_counter()\n"
        "from easgd_theory import EASGD, Synchronous\n"
        "from simulations import Quadratic, simulate\n"
        "imported = time.perf_counter()\n"
        f"simulate(EASGD({ETA}, {ALPHA}), Synchronous({P}), Quadratic({H}, {SIGMA}), rounds=1)\n"
        "print(imported - start, time.perf_counter() - imported)"
    )
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "NUMBA_CACHE_DIR": folder, "PYTHONPATH": str(ROOT)}
        for _ in range(2):
            command = [sys.executable, "-c", code]
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
            yield tuple(map(float, done.stdout.split()))


def measured(jax, case):
    """Median seconds of a case by who took them, and what JAX needed to compile it."""
    runs = {"simulate": ours, "NumPy": numpy_loop, "floor": floor}
    for function in runs.values():
        function(*case)
    first = jax.seconds(case, 0.0)
    times = {name: [] for name in (*runs, "JAX")}
    for _ in range(TURNS):
        for name, function in runs.items():
            times[name].append(seconds(function, case))
        times["JAX"].append(jax.seconds(case, TURN))
    median = {name: float(np.median(values)) for name, values in times.items()}
    return median, first - median["JAX"]


def row(case, median, compiling):
    """A case's line of the table: milliseconds, and how many times those of `simulate` they are."""
    replicas, rounds, everything = case
    cells = {name: f"{1e3 * value:.3g} ms" for name, value in median.items()}
    beside = [f"{cells[name]} ({median[name] / median['simulate']:.3g}×)" for name in ("NumPy", "JAX", "floor")]
    recorded = "center, mean, spread, loss" if everything else "center"
    return f"{replicas} × {rounds}", recorded, cells["simulate"], *beside[:2], f"{compiling:.1f} s", beside[2]


def processor():
    """The name of this machine's processor."""
    try:
        found = re.search("model name.*: (.*)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def report(python):
    """What stands between the marks, as Markdown."""
    (imports, cold), (_, warm) = cold_starts()
    jax = Jax(python)
    rows = [row(case, *measured(jax, case)) for case in CASES]
    jax.process.stdin.close()
    versions = ", ".join(f"{name} {version(name.lower())}" for name in ("easgd", "numba", "NumPy"))
    lines = [HEAD, [":---" if name == "recorded" else "---:" for name in HEAD], *rows]
    return "\n".join(
        [
            f"{date.today().isoformat()}, {processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
            f"{versions}, JAX {jax.version}. Medians over {TURNS} turns; in brackets, how many times the time of "
            "`simulate`.",
            "",
            *(f"| {' | '.join(line)} |" for line in lines),
            "",
            f"The first call of a process takes {cold:.1f} s if everything has to be compiled and {warm:.2f} s from "
            f"the cache; the imports take {imports:.1f} s.",
        ]
    )


def main(python):
    """Print the table and write it into the page."""
    text = report(python)
    print(text)
    before, rest = PAGE.read_text().split(MARKS[0])
    PAGE.write_text(f"{before}{MARKS[0]}\n\n{text}\n\n{MARKS[1]}{rest.split(MARKS[1])[1]}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jax", metavar="PYTHON", help="an interpreter that has JAX")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        main(arguments.jax or python_with_jax(folder))
