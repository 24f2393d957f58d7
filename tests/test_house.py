"""The house itself: who imports whom, what stays unloaded, docstrings, and that no algorithm is a special case."""

import ast
import doctest
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import easgd_theory
from easgd_theory import ALGORITHMS

ROOT = Path(__file__).parents[1]
ROOMS = {  # who may import whom among ourselves, and which heavy packages belong to a room
    "easgd_theory": set(),
    "simulations": {"easgd_theory"},
    "gpu_trainer": {"easgd_theory"},
    "figures": {"easgd_theory", "simulations", "gpu_trainer"},
    "easgd_cli": {"easgd_theory", "simulations", "gpu_trainer", "figures"},
}
ONLY_IN = {"torch": {"gpu_trainer"}, "matplotlib": {"figures", "easgd_cli"}, "numba": {"easgd_theory", "simulations"}}
MODULES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def name_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path):
    """Full names of everything that a module imports, at its top or in a function."""
    package = name_of(path) if path.name == "__init__.py" else name_of(path).rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            yield ".".join(filter(None, (base, node.module)))


def test_there_is_something_to_look_at():
    assert {"easgd_theory.visit", "easgd_theory.maps", "easgd_theory.algorithms.admm"} <= set(map(name_of, MODULES))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_imports_upward(path):
    room = path.relative_to(ROOT).parts[0]
    for module in imports_of(path):
        top = module.partition(".")[0]
        assert top not in ROOMS or top == room or top in ROOMS[room], f"{room} may not import {module}"
        assert room in ONLY_IN.get(top, {room}), f"{module} belongs to {ONLY_IN.get(top)}"
        assert top not in ("tests", "benchmarks", "docs")


def test_the_theory_has_no_circle_of_imports():
    theory = {name_of(path): path for path in MODULES if name_of(path).startswith("easgd_theory.")}
    graph = {}
    for name, path in theory.items():
        runtime = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ImportFrom)]
        graph[name] = {node.module for node in runtime if node.module in theory}
    while leaves := [name for name, imported in graph.items() if not imported & graph.keys()]:
        for name in leaves:
            del graph[name]
    assert graph == {}


@pytest.mark.parametrize("path", sorted((ROOT / "easgd_theory" / "algorithms").glob("*.py")), ids=name_of)
def test_a_definition_imports_the_record_and_other_definitions_only(path):
    allowed = ("easgd_theory.algorithm", "easgd_theory.algorithms", "dataclasses", "typing")
    for module in imports_of(path):
        assert module in allowed or module.startswith("easgd_theory.algorithms.")


def test_a_visit_is_interpreted_by_the_record_alone():
    assert {module for module in imports_of(ROOT / "easgd_theory" / "visit.py") if "easgd" in module} == {
        "easgd_theory.algorithm"
    }


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_source_file_is_long(path):
    assert len(path.read_text().splitlines()) <= 500


# No algorithm is a special case


SPECIAL_CASES = {"noise": {"EASGD"}}  # the closed form of the center's moments: the paper's Lemma 7.1
MACHINERY = sorted(
    path
    for path in (ROOT / "easgd_theory").glob("*.py")
    if path.stem not in ("__init__", "conditions")  # conditions.py holds the theorems, one per algorithm
)


@pytest.mark.parametrize("path", MACHINERY, ids=name_of)
def test_the_machinery_names_no_algorithm(path):
    classes = {rule.__name__ for rule in ALGORITHMS.values()}
    tree = ast.parse(path.read_text())
    named = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} & classes
    named |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} & classes
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    named |= {text for text in texts - {"easgd"} if text.lower() in ALGORITHMS}  # "easgd" is the distribution
    assert named <= SPECIAL_CASES.get(path.stem, set())


def test_conditions_compares_no_algorithm_outside_its_table():
    tree = ast.parse((ROOT / "easgd_theory" / "conditions.py").read_text())
    classes = {rule.__name__ for rule in ALGORITHMS.values()}
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) or (
            isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance"
        ):
            assert not {part.id for part in ast.walk(node) if isinstance(part, ast.Name)} & classes


def test_every_algorithm_is_registered_under_its_name():
    assert {name: rule.__name__.lower() for name, rule in ALGORITHMS.items()} == {name: name for name in ALGORITHMS}
    assert {rule.__name__ for rule in ALGORITHMS.values()} <= set(easgd_theory.__all__)


# Lazy imports


HEAVY = ("sympy", "xarray", "numba", "torch", "matplotlib", "scipy.optimize", "pandas")


def loaded_after(question, start="from easgd_theory import *"):
    """Which heavy packages a new process has loaded after the question."""
    code = f"import sys\n{start}\n{question}\nprint(*(name for name in {HEAVY!r} if name in sys.modules))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize(
    "question",
    [
        "",
        "spectral_radius(ADMM(1e-3, 2.5), RoundRobin(p=3))",
        "is_stable(EASGD(1.0, 2 / 3), RoundRobin(p=3))",
        "stability_condition(EASGD, RoundRobin()).holds(eta=1.0, alpha=0.5)",
        "iteration_map(EASGD(1.0, 0.5), RoundRobin(p=3), 1.0).matrix",
    ],
    ids=lambda question: question.partition("(")[0] or "import",
)
def test_numbers_load_nothing_heavy(question):
    assert loaded_after(question) == []


def test_a_bare_import_loads_not_even_numpy():
    assert loaded_after("dir(easgd_theory)", "import easgd_theory") == []
    assert loaded_after("assert 'numpy' not in sys.modules", "import easgd_theory") == []


def test_intervals_load_numba_at_most():
    assert set(loaded_after("critical_value('eta', DOWNPOUR(), RoundRobin(p=3))")) <= {"numba"}


def test_symbols_load_sympy_and_a_map_xarray():
    assert loaded_after("iteration_map(SGD, RoundRobin(p=1)).matrix") == ["sympy"]
    assert "xarray" in loaded_after("stability_map(SGD([0.1, 0.2]), RoundRobin(p=1))")


# The public face


@pytest.mark.parametrize("name", easgd_theory.__all__)
def test_a_public_name_exists_and_is_listed(name):
    assert name in dir(easgd_theory)
    assert getattr(easgd_theory, name) is getattr(easgd_theory, name)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        easgd_theory.nothing  # noqa: B018
    with pytest.raises(ImportError):
        from easgd_theory import nothing  # noqa: F401


def test_the_names_of_the_design_are_there():
    promised = (
        "EASGD EAMSGD ADMM DOWNPOUR MDOWNPOUR SGD MSGD LocalSGD Lookahead DiLoCo ALGORITHMS Synchronous RoundRobin "
        "iteration_map spectral_radius is_stable stability_condition stable_intervals critical_value stability_map "
        "stationary_covariance moments"
    )
    assert set(promised.split()) <= set(easgd_theory.__all__)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("EASGD", "eta alpha"),
        ("EAMSGD", "eta alpha delta"),
        ("ADMM", "eta rho"),
        ("DOWNPOUR", "eta"),
        ("MDOWNPOUR", "eta delta"),
        ("SGD", "eta"),
        ("MSGD", "eta delta"),
        ("LocalSGD", "eta"),
        ("Lookahead", "eta alpha"),
        ("DiLoCo", "eta nu mu"),
    ],
)
def test_parameters_have_the_designs_names_and_order(name, parameters):
    rule = getattr(easgd_theory, name)
    assert rule.parameters() == tuple(parameters.split())
    assert rule(*range(len(parameters.split()))).eta == 0
    assert rule.reference


def test_records_are_frozen_and_equal_to_themselves_only():
    algorithm = easgd_theory.EASGD(0.1, 0.2)
    with pytest.raises(AttributeError):
        algorithm.eta = 0.3
    assert algorithm != easgd_theory.EASGD(0.1, 0.2)  # they hold arrays
    assert easgd_theory.RoundRobin(p=3) == easgd_theory.RoundRobin(p=3, tau=1)


DOCUMENTED = [name for name in easgd_theory.__all__ if callable(getattr(easgd_theory, name))]


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_public_name_has_a_numpydoc_docstring_with_a_doctest(name):
    text = inspect.getdoc(getattr(easgd_theory, name))
    summary, blank, *_ = text.splitlines()
    assert summary.endswith(".")
    assert blank == ""
    sections = {
        title for title, line in zip(text.splitlines(), text.splitlines()[1:], strict=False) if set(line) == {"-"}
    }
    assert {"Parameters", "Examples"} <= sections
    assert sections & {"References", "Returns", "Attributes"}
    assert doctest.DocTestParser().get_examples(text)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_docstring_describes_every_parameter_and_no_other(name):
    public = getattr(easgd_theory, name)
    described = parameters_section(inspect.getdoc(public))
    if described:
        assert described == set(inspect.signature(public).parameters)


def parameters_section(text):
    """Names that stand before a colon, or alone, at the left of the section Parameters."""
    names, inside = set(), False
    lines = text.splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if set(following) == {"-"}:
            inside = line == "Parameters"
        elif inside and line and not line.startswith((" ", "-")):
            names |= {name.strip() for name in line.partition(" : ")[0].split(",")}
    return names


def test_every_algorithm_says_its_recursion():
    for rule in ALGORITHMS.values():
        assert r"\leftarrow" in rule.__doc__


def test_the_package_is_typed():
    assert (ROOT / "easgd_theory" / "py.typed").exists()
