"""How fast simulations run, beside a NumPy loop, JAX, and the floor: the same normals, the same memory, nothing else.

    python benchmarks/simulate.py [--jax PYTHON]

Synchronous EASGD with p = 8 workers and gradient noise, in double precision. All record the same at every round: the
center, the workers' mean, their spread, and the loss; then the center alone. JAX runs in a process of its own; without
``--jax`` a virtual environment is made for it first. Times are medians of calls that take turns, so that a machine that
is busy at times is busy for all.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
import numpy as np
from numba import njit

from easgd_theory import EASGD, Synchronous
from simulations import Quadratic, Record, simulate
from simulations.streams import fill_in_pairs, lay_out

ROOT = Path(__file__).parents[1]
P, ETA, ALPHA, H, SIGMA = 8, 0.1, 0.1, 1.0, 1.0
CASES = [(1, 20_000, True), (1, 20_000, False), (4096, 400, True), (4096, 400, False)]
REPEATS = 9


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
for line in sys.stdin:  # a case is compiled and run, or run again
    case = tuple(json.loads(line))
    if case not in runs:
        runs[case] = make(*case)
    start = time.perf_counter()
    runs[case]()
    print(time.perf_counter() - start, flush=True)
"""


class Jax:
    """JAX in a process of its own, which runs a case when it is told to."""

    def __init__(self, python):
        self.process = subprocess.Popen(
            [python, "-c", JAX], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def seconds(self, case):
        """Of one call."""
        self.process.stdin.write(json.dumps(case) + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


def python_with_jax(folder):
    """The interpreter of a new virtual environment with JAX."""
    venv.create(folder, with_pip=True)
    python = str(Path(folder, "bin", "python"))
    subprocess.run([python, "-m", "pip", "install", "--quiet", "jax"], check=True)
    return python


def seconds(function, case):
    """Of one call."""
    start = time.perf_counter()
    function(*case)
    return time.perf_counter() - start


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


def main(python):
    """Print medians and ratios."""
    (imports, cold), (_, warm) = cold_starts()
    print(f"first call of a process: {cold:.2f} s compiling, {warm:.2f} s from the cache; imports {imports:.2f} s")
    jax, runs = Jax(python), {"simulate": ours, "NumPy": numpy_loop, "floor": floor}
    for case in CASES:
        for function in runs.values():
            function(*case)
        compiling = jax.seconds(case)
        times = {key: [] for key in (*runs, "JAX")}
        for _ in range(REPEATS):
            for key, function in runs.items():
                times[key].append(seconds(function, case))
            times["JAX"].append(jax.seconds(case))
        median = {key: np.median(values) for key, values in times.items()}
        replicas, rounds, everything = case
        recorded = "center, mean, spread, loss" if everything else "center"
        print(f"\n{replicas} x {rounds} rounds, recording {recorded} (JAX compiles in {compiling:.1f} s)")
        for key, value in median.items():
            step = 1e9 * value / (P * replicas * rounds)
            print(f"  {key:9} {1e3 * value:9.2f} ms {step:8.2f} ns a step {value / median['simulate']:8.2f}")
    jax.process.stdin.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jax", metavar="PYTHON", help="an interpreter that has JAX")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        main(arguments.jax or python_with_jax(folder))
