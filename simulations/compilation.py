"""Compiled kernels: the text that was proved, filled into the loops of `kernels`, one set per algorithm and objective.

Numba keeps machine code as long as the file of the *caller* does not change, whatever becomes of what it calls. So the
name under which a kernel is kept bears a digest of everything it is made of: the code of the definition's functions and
of whatever they refer to, the loops, and numba's version.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterator
from enum import EnumMeta
from functools import cache
from hashlib import sha256
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

import numba
import numpy as np

from easgd_theory import visit
from easgd_theory.algorithm import Algorithm
from simulations import kernels
from simulations.arrays import Seen
from simulations.objectives import Pieces
from simulations.streams import Addresses

_FUNCTIONS = ("query", "visit", "local_query", "local", "push_before", "push_after", "absorb")
_PIECES = ("slope", "gradient", "term", "loss")


class Kernels(NamedTuple):
    """The functions of `kernels` of these names; numba compiles one when it is called for the first time."""

    rounds: Callable[..., int]
    rounds_at_once: Callable[..., int]
    rounds_of_one: Callable[..., int]
    split_rounds: Callable[..., int]
    losses: Callable[..., None]


def kernels_of(algorithm: Algorithm, pieces: Pieces) -> Kernels:
    """The loops of this algorithm on this kind of objective, from numba's cache on disk if they are there.

    Raises
    ------
    ValueError
        The rule gathers everyone's messages, and they read the center: then no running sum of them can be kept.
    """
    rule = type(algorithm)
    functions = (*(getattr(rule, name, None) for name in _FUNCTIONS), *(getattr(pieces, name) for name in _PIECES))
    digest = _digest(functions, rule)
    if digest not in _compiled:
        _check_messages(algorithm)
        _compiled[digest] = _compile(algorithm, pieces, digest)
    return _compiled[digest]


def _digest(functions: tuple[Any, ...], rule: type[Algorithm]) -> str:
    """The name of what is made of these functions and of a rule's variables and parameters."""
    key = (rule, *functions)
    found = _digests.get(key)
    if found is None:
        names = (rule.worker, rule.center, rule.gather, rule.parameters(), rule.options())
        found = digest_of(_frame(), functions, names)
        if all(map(_is_closed, functions)):  # then it stays what it is: a short run need not look twice
            _digests[key] = found
    return found


def _is_closed(function: Any) -> bool:
    """Whether the function refers to nothing but its arguments."""
    return function is None or not (
        function.__closure__ or function.__defaults__ or _names(function.__code__) & function.__globals__.keys()
    )


_digests: dict[tuple[Any, ...], str] = {}


@cache
def kept(function: Callable[..., Any]) -> Callable[..., Any]:
    """A loop that calls loops of other files, compiled or from the cache."""
    plain = _plain(function)
    return _jit(plain, plain.__globals__, digest_of(plain, numba.__version__))


_compiled: dict[str, Any] = {}


@cache
def _frame() -> str:
    """A digest of what is the same for all: the loops, their records, what makes kernels of them, numba's version."""
    own = [value for value in vars(kernels).values() if getattr(value, "__module__", "") == kernels.__name__]
    makers = [maker.__code__ for maker in (_compile, _access, _items, _definition, _jit)]
    return digest_of(own, (Seen, Addresses), visit.message, makers, numba.__version__)


def _check_messages(algorithm: Algorithm) -> None:
    rule = type(algorithm)
    if rule.gather != "all":
        return
    k = algorithm.pack(dict.fromkeys(rule.parameters(), 0.5))
    worker = rule.Worker(*np.linspace(0.3, 0.7, len(rule.worker)))
    center, other = (rule.Center(*np.full(len(rule.center), value)) for value in (0.2, 0.9))
    if visit.message(rule, k, worker, worker, center) != visit.message(rule, k, worker, worker, other):
        raise ValueError(f"{rule.__name__} gathers everyone's latest message, which therefore must not read the center")


def _compile(algorithm: Algorithm, pieces: Pieces, digest: str) -> Kernels:
    rule = type(algorithm)
    message_rule = ModuleType(rule.__name__)  # numba knows the attributes of a module, not those of a class
    message_rule.pushes_first = getattr(rule, "pushes_first", False)  # type: ignore[attr-defined]
    namespace = dict(vars(kernels)) | _access(rule, (*rule.parameters(), *rule.options()))
    for name in _FUNCTIONS:
        stand_in: Any = vars(kernels).get(name, kernels.nothing)
        compiled = _definition(getattr(rule, name, stand_in))
        target = vars(message_rule) if name.startswith("push") else namespace
        target[name] = compiled
    for name in _PIECES:
        namespace[name] = _definition(getattr(pieces, name) or kernels.nothing)
    namespace |= {"RULE": message_rule, "COUPLED": pieces.gradient is not None, "EVERYONE": rule.gather == "all"}
    namespace["SEPARABLE"] = pieces.term is not None
    namespace["message"] = _definition(visit.message)
    for name, function in vars(kernels).items():
        if isinstance(function, FunctionType) and (function.__module__, function.__name__) == (kernels.__name__, name):
            namespace[name] = _jit(function, namespace, inline=True)
    return Kernels(*(_jit(getattr(kernels, name), namespace, digest) for name in Kernels._fields))


def _access(rule: type[Algorithm], names: tuple[str, ...]) -> dict[str, Any]:
    """How a worker, the center and the parameters are read from arrays and written to them, as named tuples."""
    types = {"Worker": rule.Worker, "Center": rule.Center, "Parameters": namedtuple("Parameters", names)}
    unpacked = f"{_items('a[{i}, e]', rule.center)}, = c; " if rule.center else ""
    sources = {
        "load_worker": f"(a, e): return Worker({_items('a[{i}, e]', rule.worker)})",
        "load_center": f"(a, e): return Center({_items('a[{i}, e]', rule.center)})",
        "load_parameters": f"(a, e): return Parameters({_items('a[e, {i}]', names)})",
        "size_of_worker": f"(a, e): return {_items('abs(a[{i}, e])', rule.worker, ' + ')}",
        "size_of_center": f"(a, e): return {_items('abs(a[{i}, e])', rule.center, ' + ') or 0.0}",
        "store_worker": f"(a, e, w): {_items('a[{i}, e]', rule.worker)}, = w; return Worker(*w)",
        "store_center": f"(a, e, c): {unpacked}return Center(*c)",
    }
    namespace: dict[str, Any] = dict(types)
    for name, source in sources.items():
        exec(f"def {name}{source}", namespace)
    return {name: _jit(namespace[name], namespace) for name in sources}


def _items(form: str, names: tuple[str, ...], between: str = ", ") -> str:
    return between.join(form.format(i=i) for i in range(len(names)))


def _definition(function: Any) -> Any:
    """A definition's function, compiled with the functions that it calls in its turn."""
    namespace = dict(function.__globals__)
    for name in _names(function.__code__):
        if isinstance(namespace.get(name), FunctionType) and namespace[name] is not function:
            namespace[name] = _definition(namespace[name])
    return _jit(function, namespace)


def _jit(function: Any, namespace: dict[str, Any], digest: str = "", inline: bool = False) -> Any:
    """The function over other globals, compiled; on disk if it has a digest."""
    plain = FunctionType(function.__code__, namespace, function.__name__, function.__defaults__, function.__closure__)
    plain.__module__ = function.__module__
    plain.__qualname__ = f"{function.__name__}_{digest}"
    return numba.njit(nogil=True, error_model="numpy", cache=bool(digest), forceinline=inline)(plain)


def _names(code: CodeType) -> set[str]:
    """All global names and attributes that the code mentions, in its nested functions too."""
    nested = (_names(constant) for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*nested)


_SELF_EVIDENT = (str, int, float, complex, bytes, type(None))


def digest_of(*values: Any) -> str:
    """A hash of values, functions by their code and everything that the code refers to."""
    return sha256(repr(_description(values, {})).encode()).hexdigest()[:16]


def _description(value: Any, known: dict[int, int]) -> Any:
    """The value as tuples of plain things, whose repr tells all of it and no address."""
    value = _plain(value)
    if isinstance(value, _SELF_EVIDENT):
        return value
    if isinstance(value, FunctionType):
        if id(value) in known:
            return "function", known[id(value)]
        known[id(value)] = len(known)
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        parts = (value.__code__, value.__defaults__, value.__kwdefaults__, cells)
        return "function", *(_description(part, known) for part in parts), _globals(value, known)
    if isinstance(value, CodeType):
        consts = _description(value.co_consts, known)
        return "code", value.co_code, value.co_names, value.co_varnames, value.co_freevars, consts
    if isinstance(value, tuple | list):
        return type(value).__name__, *(_description(item, known) for item in value)
    if isinstance(value, frozenset):
        return "frozenset", *sorted(repr(_description(item, known)) for item in value)
    if isinstance(value, np.ndarray | np.generic):
        return "array", str(value.dtype), value.shape, value.tobytes()
    if isinstance(value, dict):
        return "dict", *((key, _description(item, known)) for key, item in value.items())
    name = getattr(value, "__qualname__", getattr(value, "__name__", ""))  # of a class, a module, a builtin function
    inside = repr(list(value)) if isinstance(value, EnumMeta) else getattr(value, "_fields", ())
    return type(value).__qualname__, getattr(value, "__module__", ""), name, inside


def _plain(value: Any) -> Any:
    """The function that numba has compiled, or the value itself."""
    return getattr(value, "py_func", value)


def _globals(function: FunctionType, known: dict[int, int]) -> list[Any]:
    """What the names in a function's code stand for, also as attributes of the modules among them."""
    found = _found(sorted(_names(function.__code__)), function.__globals__, {id(function.__globals__)})
    return [(name, _description(value, known)) for name, value in found]


def _found(names: list[str], namespace: dict[str, Any], seen: set[int]) -> Iterator[tuple[str, Any]]:
    """The values of these names in a namespace, and in the modules that they lead to."""
    for name in names:
        if name in namespace:
            value = namespace[name]
            yield name, value
            if isinstance(value, ModuleType) and id(vars(value)) not in seen:
                yield from _found(names, vars(value), seen | {id(vars(value))})
