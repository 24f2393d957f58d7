"""Running simulations: compiled code and its cache, interruption, resumption, refusals, and the room they live in."""

import ast
import os
import signal
import subprocess
import sys
import time
from collections import namedtuple
from dataclasses import dataclass
from enum import IntEnum
from inspect import getdoc, signature
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from test_house import ALGORITHMS, MODULES, ROOT, imports_of, loaded_after, name_of, parameters_section

import simulations
from easgd_theory import ADMM, EAMSGD, EASGD, MDOWNPOUR, RoundRobin, Synchronous
from easgd_theory.algorithm import Algorithm, Parameter
from easgd_theory.schedules import RandomOrder
from simulations import (
    DoubleWell,
    LinearRegression,
    LogisticRegression,
    Quadratic,
    Record,
    compilation,
    engine,
    kernels,
    simulate,
)

RULE = """
from dataclasses import dataclass

from easgd_theory.algorithm import Algorithm, Parameter
from helpers import half

FACTOR = 1.0


@dataclass(frozen=True, eq=False)
class Mine(Algorithm):
    eta: Parameter = None
    worker = ("x",)
    center = ()
    local_query = staticmethod(lambda w, k: w.x)

    @staticmethod
    def local(w, k, g):
        return (w.x - half(k.eta) * FACTOR * g,)
"""
HELPERS = "def half(value):\n    return 0.5 * value\n"
RUN = """
import time
from easgd_theory import Synchronous
from mine import Mine
from simulations import Quadratic, compilation, simulate
start = time.perf_counter()
run = simulate(Mine(eta=0.5), Synchronous(p=1), Quadratic(1.0), rounds=1)
seconds = time.perf_counter() - start
(kernels,) = compilation._compiled.values()
stats = kernels.rounds.stats
print(run.center.values[0, 1, 0], sum(stats.cache_hits.values()), seconds)
print(stats.cache_path, kernels.rounds.__qualname__)
"""


@pytest.fixture
def own_rule(tmp_path):
    """`run(text, helpers)`: the center after a round, the cache's hits and the seconds it took, in a new process."""
    kept = set()

    def run(text=RULE, helpers=HELPERS):
        (tmp_path / "mine.py").write_text(text)
        (tmp_path / "helpers.py").write_text(helpers)
        path = os.pathsep.join([str(tmp_path), str(ROOT)])
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run([sys.executable, "-c", RUN], capture_output=True, text=True, check=True, env=environment)
        answer, cache = done.stdout.splitlines()
        kept.add(tuple(cache.rsplit(maxsplit=1)))
        center, hits, seconds = answer.split()
        return float(center), int(hits), float(seconds)

    yield run
    for folder, name in kept:
        for file in Path(folder).glob(f"*{name}*"):
            file.unlink()


def test_an_edited_rule_is_the_one_that_runs_and_a_second_process_compiles_nothing(own_rule, record_property):
    text = RULE.replace("* FACTOR", f"* (FACTOR + 0.0 * {time.time_ns()})")  # never compiled before
    center, hits, cold = own_rule(text)
    assert (center, hits) == (0.75, 0)
    center, hits, warm = own_rule(text)
    assert (center, hits) == (0.75, 1)
    assert warm < cold / 2
    record_property("seconds of the first call, compiling and from the cache", (cold, warm))
    assert own_rule(text, HELPERS.replace("0.5", "1.0"))[:2] == (0.5, 0)  # a function that the rule calls


def test_every_edit_of_a_rule_gives_another_kernel():
    def kernel(text=RULE, helpers=HELPERS):
        for name, source in (("helpers", helpers), ("mine", text)):
            sys.modules[name] = module = ModuleType(name)
            exec(source, vars(module))
        rule = sys.modules["mine"].Mine(eta=0.5)
        return compilation.kernels_of(rule, Quadratic().pieces(1, 1)).rounds.__qualname__

    edits = {
        kernel(),
        kernel(RULE.replace("* FACTOR * g", "* FACTOR * g * 2")),
        kernel(RULE.replace("FACTOR = 1.0", "FACTOR = 3.0")),
        kernel(RULE.replace("lambda w, k: w.x", "lambda w, k: -w.x")),
        kernel(RULE, HELPERS.replace("0.5", "1.0")),
        kernel(RULE.replace("from helpers import half", "import helpers").replace("half(", "helpers.half(")),
    }
    assert len(edits) == 6
    assert kernel() == kernel(RULE.replace("class Mine(Algorithm):", "class Mine(Algorithm):\n    # a comment"))


def test_the_digest_sees_everything_that_a_function_is_made_of():
    digest = compilation.digest_of
    assert digest(lambda x: x + 1) == digest(lambda x: x + 1)
    assert digest(lambda x: x + 1) != digest(lambda x: x + 2)
    assert digest(lambda x, y=1: x) != digest(lambda x, y=2: x)
    one, two = 1.0, 2.0
    assert digest(lambda x: x * one) != digest(lambda x: x * two)  # cells of a closure
    assert digest(np.arange(3.0)) != digest(np.arange(3))
    first, second = (lambda x: x), (lambda x: -x)
    assert digest([first, second, first]) != digest([first, second, second])
    assert digest("1") != digest(1)


@pytest.mark.parametrize("before", [1.0, np.float32(1.0), np.ones(1), (1.0,), True, "1"])
def test_the_digest_sees_what_modules_hold(before):
    """Of a module and of a module within it: what a function names, and nothing else."""
    inner, module = ModuleType("inner"), ModuleType("module")
    module.inner, inner.module = inner, module
    for place in (module, inner):
        module.VALUE = inner.VALUE = before
        function = eval("lambda x: (module.VALUE, module.inner.VALUE)", {"module": module})
        same = compilation.digest_of(function)
        place.other = 1.0
        assert compilation.digest_of(function) == same
        place.VALUE = np.zeros(1) if isinstance(before, np.ndarray) else type(before)()
        assert compilation.digest_of(function) != same


@pytest.mark.parametrize(("module", "name"), [(compilation, "Seen"), (compilation, "Addresses"), (kernels, "Draws")])
def test_the_digest_sees_the_fields_of_records(module, name, monkeypatch):
    """Machine code knows a field by its place."""
    frame, record = compilation._frame.__wrapped__, getattr(module, name)
    before = frame()
    monkeypatch.setattr(module, name, namedtuple(name, record._fields, module=record.__module__))
    again = frame()
    monkeypatch.setattr(module, name, namedtuple(name, record._fields[::-1], module=record.__module__))
    assert frame() != again == before
    colors = IntEnum("Color", {"RED": 1}), IntEnum("Color", {"RED": 2})
    assert compilation.digest_of(colors[0]) != compilation.digest_of(colors[1])


@pytest.mark.parametrize("rule", [EASGD(1.5, 1.2), EAMSGD(0.6, 0.5, 0.9), ADMM(1.0, 2.0)])
@pytest.mark.parametrize(
    ("replicas", "p", "record"),
    [
        (9, 3, Record(workers=True)),
        (1, 3, Record(worker_mean=True, spread=True, loss=True)),
        (1, 3, Record()),
        (2, 1500, Record(worker_mean=True, spread=True)),  # a block for each replica
    ],
)
def test_the_common_cases_are_no_other_cases(rule, replicas, p, record, monkeypatch):
    """`rounds_at_once` and `rounds_of_one` give the bits of `rounds`, whether a replica diverges or not."""
    cases = [(1.0, Quadratic(2.5, 1.0)), (1e149, Quadratic(2.5, 1.0)), (0.5, DoubleWell(0.1))]

    def run(size, objective):
        start = np.ones((replicas, p * len(rule.worker) + len(rule.center), 1))
        start[replicas // 2] = size
        options = {"rounds": 20, "replicas": replicas, "start": start, "record": record}
        return simulate(rule, Synchronous(p=p), objective, **options)

    quick = [run(*case) for case in cases]
    monkeypatch.setattr("simulations.problem.Problem.lone", False)
    assert all(run(*case).identical(seen) for case, seen in zip(cases, quick, strict=True))
    monkeypatch.setattr("simulations.problem.Problem.at_once", False)
    assert all(run(*case).identical(seen) for case, seen in zip(cases, quick, strict=True))


def test_plain_python_gives_the_same_numbers(tmp_path):
    """NUMBA_DISABLE_JIT: the same text without the compiler, noise included."""
    code = """
import sys
import numpy as np
from easgd_theory import ADMM, DOWNPOUR, EAMSGD, EASGD, RoundRobin, Synchronous
from easgd_theory.schedules import RandomOrder
from simulations import DoubleWell, LogisticRegression, Quadratic, Record, simulate
found = []
for rule in (EASGD(0.3, 0.2), EAMSGD(0.2, 0.1, 0.9), ADMM(0.1, 1.0), DOWNPOUR(0.05)):
    for schedule in (Synchronous(p=3), RoundRobin(p=3), RandomOrder(p=3)):
        for noise in (0.0, 1.0):
            record = Record(worker_mean=True, spread=True, loss=True, workers=True)
            run = simulate(rule, schedule, Quadratic([1.0, 0.5], noise), rounds=5, replicas=2, record=record)
            found += [run[name].values.ravel() for name in run]
for objective in (DoubleWell(), LogisticRegression([[1.0], [-3.0]], [1, 1], 0.1)):
    for start in (1000.0, 1e100):
        run = simulate(EASGD(0.1, 0.1), Synchronous(p=2), objective, rounds=9, start=start, record=Record(loss=True))
        found += [run[name].values.ravel() for name in run]
np.save(sys.argv[1], np.concatenate(found))
"""
    results = []
    for disabled in "01":
        environment = {**os.environ, "NUMBA_DISABLE_JIT": disabled, "PYTHONPATH": str(ROOT)}
        subprocess.run(
            [sys.executable, "-W", "error", "-c", code, tmp_path / f"{disabled}.npy"], check=True, env=environment
        )
        results.append(np.load(tmp_path / f"{disabled}.npy"))
    np.testing.assert_allclose(*results, rtol=1e-13, atol=1e-15)


# Interruption


class Stop(Exception):
    """Raised by a progress callback."""


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(engine, "_CHUNK", 1)
    monkeypatch.setattr(engine, "_WINDOWS", 1)
    monkeypatch.setattr("simulations.problem._DRAWS", 1)  # two rounds at a time


@pytest.mark.parametrize("schedule", [Synchronous(p=3, tau=3), RoundRobin(p=3), RandomOrder(p=3, tau=2)])
@pytest.mark.parametrize("statistics", [False, True])
def test_an_interrupted_run_goes_on_to_the_same_bits(schedule, statistics, tmp_path, small_chunks):
    def run(rounds=20, **options):
        record = Record(spread=True, workers=True, statistics=statistics)
        start = np.ones((7, 4, 1))
        start[3] = 1e140  # this replica diverges
        return simulate(
            EASGD(1.5, 1.2),
            schedule,
            Quadratic(2.5, 1.0),
            rounds=rounds,
            replicas=7,
            seed=4,
            start=start,
            record=record,
            **options,
        )

    def stop(done, rounds):
        seen.append((done, rounds))
        if done >= 9:
            raise Stop

    seen, path = [], tmp_path / "state.npz"
    with pytest.raises(Stop):
        run(progress=stop, checkpoint=path)
    assert seen[-1][1] == 20
    assert seen[-1][0] < 12
    left = []
    resumed = run(checkpoint=path, progress=lambda done, _: left.append(done))
    assert left[0] > seen[-1][0]
    whole = run()
    assert resumed.identical(whole)
    assert run(checkpoint=path, progress=left.append).identical(whole)  # finished: nothing is left to do
    longer = run(rounds=30)
    extended = run(rounds=30, checkpoint=path)
    assert extended.identical(longer)
    assert [file.name for file in tmp_path.iterdir()] == ["state.npz"]


KILLED = """
import sys
import time
from easgd_theory import EASGD, Synchronous
from simulations import Quadratic, Record, engine, simulate
engine.SAVE_EVERY, engine._CHUNK = 0.0, 1
def progress(done, rounds):
    print(done, flush=True)
    time.sleep(0.02)
simulate(EASGD(0.1, 0.1), Synchronous(p=4), Quadratic(1.0, 1.0), rounds=200_000, replicas=3, seed=9,
         record=Record(statistics=True), checkpoint=sys.argv[1], progress=progress)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_goes_on_to_the_same_bits(how, tmp_path):
    path = tmp_path / "state.npz"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, path],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    ) as process:
        for _ in range(3):
            assert process.stdout.readline()
        process.send_signal(how)
        process.wait()
    assert process.returncode != 0

    def run(**options):
        rule, objective, record = EASGD(0.1, 0.1), Quadratic(1.0, 1.0), Record(statistics=True)
        return simulate(rule, Synchronous(p=4), objective, rounds=200_000, replicas=3, seed=9, record=record, **options)

    done = []
    resumed = run(checkpoint=path, progress=lambda rounds, _: done.append(rounds))
    assert done[0] > 16_384  # it did not begin anew
    assert resumed.identical(run())


def test_a_state_is_kept_whole_or_not_at_all(tmp_path, small_chunks, monkeypatch):
    path = tmp_path / "state.npz"
    options = {"rounds": 9, "replicas": 2, "checkpoint": path}
    simulate(EASGD(0.1, 0.1), Synchronous(p=2), Quadratic(1.0, 1.0), **options)
    before = path.read_bytes()

    def half(file, **arrays):
        file.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez", half)
    with pytest.raises(OSError, match="No space"):
        simulate(EASGD(0.1, 0.1), Synchronous(p=2), Quadratic(1.0, 1.0), **options | {"rounds": 12})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_run_that_fails_in_the_middle_keeps_no_state(tmp_path, small_chunks):
    def eta(t):
        return 0.1 if t < 11 else float("nan")

    path = tmp_path / "state.npz"
    with pytest.raises(ValueError, match="eta at clock 11 must be finite"):
        simulate(EASGD(eta, 0.1), Synchronous(p=2), Quadratic(1.0), rounds=30, checkpoint=path)
    assert not path.exists()


# Refusals


def test_what_is_refused(refused, tmp_path):
    rule, schedule, objective = EASGD(0.1, 0.1), Synchronous(p=3), Quadratic(1.0)

    def call(*arguments, **options):
        return lambda: simulate(*arguments, **{"rounds": 3, **options})

    refused(call(EASGD, schedule, objective), "algorithm", "EASGD(eta=0.1, alpha=0.1)")
    refused(call(EASGD(0.1), schedule, objective), "alpha")
    refused(call(EASGD(0.1, [0.1, 0.2]), schedule, objective), "alpha", "one number")
    refused(call(EASGD(0.1, float("nan")), schedule, objective), "alpha", "finite")
    refused(call(rule, "synchronous", objective), "schedule", "RandomOrder")
    refused(call(rule, Synchronous(), objective), "p")
    refused(call(rule, schedule, 1.0), "objective", "Quadratic")
    refused(call(rule, schedule, objective, rounds=-1), "rounds", "-1")
    refused(call(rule, schedule, objective, rounds=1.5), "rounds", "1.5")
    refused(call(rule, schedule, objective, replicas=0), "replicas", "0")
    refused(call(rule, schedule, objective, seed=-1), "seed", "-1")
    refused(call(rule, schedule, objective, record="loss"), "record", "'loss'")
    refused(call(rule, schedule, objective, start=[1.0, 2.0]), "start", "a number", "(4,)", "(2,)")
    refused(call(rule, schedule, objective, start=None), "start", "real number", "None")
    refused(call(rule, schedule, objective, start=float("inf")), "start", "finite", "inf")
    refused(call(rule, schedule, Quadratic([1.0, 2.0]), start=np.ones((4, 3))), "start", "d=2")
    refused(call(MDOWNPOUR(0.1, 0.9), Synchronous(p=2, tau=2), objective), "tau")
    refused(call(rule, schedule, Quadratic(np.ones((2, 4, 4)))), "h", "p=3")
    other = tmp_path / "other.npz"
    call(rule, schedule, objective, checkpoint=other)()
    refused(call(rule, schedule, objective, checkpoint=other, seed=1), "checkpoint", "other.npz")
    refused(call(rule, schedule, objective, checkpoint=other, rounds=2), "rounds", "3")
    other.write_bytes(other.read_bytes()[:900])
    refused(call(rule, schedule, objective, checkpoint=other), "checkpoint", "other.npz")
    refused(call(rule, schedule, objective, checkpoint=tmp_path / "none" / "x.npz"), "checkpoint", "directory", "x.npz")
    with other.open("wb") as file:
        np.save(file, np.ones(3))
    refused(call(rule, schedule, objective, checkpoint=other), "checkpoint", "other.npz")
    other.write_text("something else")
    refused(call(rule, schedule, objective, checkpoint=other), "checkpoint", "other.npz")


def test_objectives_refuse_what_they_are_not(refused):
    refused(lambda: Quadratic(np.ones((2, 2))), "h", "(2, 2)")
    refused(lambda: Quadratic([[[0.0, 1.0], [2.0, 0.0]]]), "h", "symmetric")
    refused(lambda: Quadratic(1.0, noise=-1.0), "noise", "-1")
    refused(lambda: Quadratic([np.eye(2)], deviation=1.0), "deviation")
    refused(lambda: Quadratic([np.eye(2)], deviation=np.zeros(2)), "deviation", "a number")
    refused(lambda: Quadratic(lambda t: 1.0), "h", "a number", "function")
    refused(lambda: Quadratic(float("inf")), "h", "finite")
    refused(lambda: DoubleWell(noise=[1.0]), "noise")
    refused(lambda: LinearRegression(-1.0), "variance", "-1")
    refused(lambda: LinearRegression(1.0, shape=0), "shape", "0")
    refused(lambda: LogisticRegression([1.0], [1.0], 0.1), "inputs", "(1,)")
    refused(lambda: LogisticRegression([[1.0]], [0.0], 0.1), "labels", "-1 or 1")


def test_rules_that_cannot_be_simulated_are_refused(refused):
    @dataclass(frozen=True, eq=False)
    class Reader(ADMM):  # its message reads the center: everyone's latest then is no running sum
        push_after = staticmethod(lambda old, new, c, k: new.x - new.lam + c.x)

    refused(lambda: simulate(Reader(0.1, 1.0), RoundRobin(2), Quadratic(), rounds=1), "Reader", "center")

    @dataclass(frozen=True, eq=False)
    class Nameless(Algorithm):
        eta: Parameter = None
        worker = ("y",)
        center = ()
        local_query = staticmethod(lambda w, k: w.y)
        local = staticmethod(lambda w, k, g: (w.y - k.eta * g,))

    refused(lambda: simulate(Nameless(0.1), Synchronous(1), Quadratic(), rounds=1), "Nameless", "x")

    @dataclass(frozen=True, eq=False)
    class Wild(Algorithm):
        eta: Parameter = None
        worker = ("x",)
        center = ()
        local_query = staticmethod(lambda w, k: w.x)
        local = staticmethod(lambda w, k, g: (float(input()),))

    refused(lambda: simulate(Wild(0.1), Synchronous(1), Quadratic(), rounds=1), "Wild", "numba")


# The room

ROOM = [path for path in MODULES if name_of(path).startswith("simulations")]


@pytest.mark.parametrize("path", ROOM, ids=name_of)
def test_no_algorithm_is_named(path):
    classes = {rule.__name__ for rule in ALGORITHMS.values()}
    tree = ast.parse(path.read_text())
    assert not {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} & classes
    assert not [module for module in imports_of(path) if module.startswith("easgd_theory.algorithms")]


def test_it_loads_what_it_needs_when_it_needs_it():
    assert loaded_after("dir(simulations)", "import simulations") == []
    heavy = loaded_after("Quadratic(1.0)", "from simulations import *")
    assert not {"sympy", "torch", "matplotlib", "xarray"} & set(heavy)


@pytest.mark.parametrize("name", simulations.__all__)
def test_a_public_name_is_described(name):
    public = getattr(simulations, name)
    text = public.__doc__
    summary, blank, *_ = text.strip().splitlines()
    assert summary.endswith(".")
    assert blank == ""
    assert {"Parameters", "References", "Examples"} <= {line.strip() for line in text.splitlines()}
    described = parameters_section(getdoc(public))
    assert described == set(signature(public).parameters)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        simulations.nothing  # noqa: B018
    assert Path(simulations.__file__).with_name("py.typed").exists()
