"""The extension point: what one worker and the center do, as plain arithmetic.

An algorithm is a frozen record of parameters and a few pure functions. The functions know neither the number of
workers nor the kind of number they are given: over symbols they yield the iteration map, over arrays a grid of maps.
`easgd_theory.visit` interprets them; nothing else may.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import cache
from math import isfinite
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

if TYPE_CHECKING:
    from easgd_theory.schedules import Schedule

Parameter = Any
"""A float, an array (they broadcast), a sympy expression, or None: not given yet."""


class Algorithm:
    """Base of every algorithm; a subclass is a frozen dataclass whose fields are its parameters.

    The functions are static, elementwise, and use ``+ - * /`` and integer powers only. Their arguments: `w`, `old`,
    `new` are the worker's variables and `c` the center's (named tuples, fields as declared); `k` holds the parameters;
    `g` is the *value* of the gradient at the point that `query` named. What they return for a worker or a center is a
    tuple in the declared order; a message is one value.

    Attributes
    ----------
    worker, center : tuple of str
        Names of the variables of one worker and of the center. ``center = ()``: a sequential method.
    gather : {"active", "all"}
        Whose messages the center sums: those of the workers that visit it now, or everyone's latest.
    requires_one : mapping
        ``{"p": reason}`` or ``{"tau": reason}``: the schedule's number that must be 1, and why.
    reference : str
        Where the algorithm is defined.
    """

    worker: ClassVar[tuple[str, ...]]
    center: ClassVar[tuple[str, ...]] = ("x",)
    gather: ClassVar[Literal["active", "all"]] = "active"
    requires_one: ClassVar[Mapping[str, str]] = {}
    reference: ClassVar[str] = ""

    pushes_first: ClassVar[bool]
    Worker: ClassVar[type]
    Center: ClassVar[type]

    # What a definition writes. A step without the center is `local_query` and `local` (needed for tau > 1, and all that
    # there is without a center); of the two messages it writes exactly one: `push_before` is sent on arrival, from what
    # the worker carried here, `push_after` once it has taken all tau steps.
    query: ClassVar[Any]
    visit: ClassVar[Any]
    local_query: ClassVar[Any]
    local: ClassVar[Any]
    push_before: ClassVar[Any]
    push_after: ClassVar[Any]
    absorb: ClassVar[Any]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if not hasattr(cls, "absorb") and cls.center:  # a family's common part, not an algorithm yet
            return
        pushes = [name for name in ("push_before", "push_after") if hasattr(cls, name)]
        if len(pushes) != (1 if cls.center else 0):
            raise TypeError(
                f"{cls.__name__} must define exactly one of push_before and push_after, or have no center; "
                f"it defines {' and '.join(pushes) or 'neither'}"
            )
        needed = ("query", "visit", "absorb") if cls.center else ("local_query", "local")
        missing = [name for name in needed if not hasattr(cls, name)]
        if missing:
            raise TypeError(f"{cls.__name__} must define {' and '.join(missing)}")
        if cls.gather not in ("active", "all"):
            raise TypeError(f"{cls.__name__}.gather must be 'active' or 'all', got {cls.gather!r}")
        if not set(cls.requires_one) <= {"p", "tau"}:
            raise TypeError(f"{cls.__name__}.requires_one may name p and tau, got {', '.join(cls.requires_one)}")
        cls.pushes_first = pushes == ["push_before"]
        cls.Worker = namedtuple("Worker", cls.worker)  # type: ignore[misc]
        cls.Center = namedtuple("Center", cls.center)  # type: ignore[misc]

    @classmethod
    def parameters(cls) -> tuple[str, ...]:
        """Names of the numeric parameters, in order."""
        return _declared(cls)[0]  # type: ignore[arg-type]

    @classmethod
    def options(cls) -> tuple[str, ...]:
        """Names of the yes-or-no options, in order."""
        return _declared(cls)[1]  # type: ignore[arg-type]

    def pack(self, values: Mapping[str, Any]) -> Any:
        """The parameters as the named tuple `k` that the definition's functions receive."""
        options = {name: int(as_bool(name, getattr(self, name))) for name in self.options()}
        return _parameter_tuple(self.parameters() + self.options())(**values, **options)

    @classmethod
    def check(cls, schedule: Schedule) -> None:
        """Raise ValueError if this algorithm is not defined on `schedule`."""
        for name, reason in cls.requires_one.items():
            value = getattr(schedule, name)
            if value not in (None, 1):
                raise ValueError(f"{cls.__name__} is defined for {name}=1 only, got {name}={value}: {reason}")
        if schedule.tau > 1 and not (hasattr(cls, "local") and hasattr(cls, "local_query")):
            raise ValueError(f"{cls.__name__} is defined for tau=1 only, got tau={schedule.tau}: it has no local step")


@cache
def _declared(rule: type[Algorithm]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """A rule's parameters and options."""
    declared = fields(rule)  # type: ignore[arg-type]
    for field in declared:
        if not (field.default is None or isinstance(field.default, bool)):
            raise TypeError(
                f"{rule.__name__}.{field.name} must be declared with the default None (a parameter) or a bool "
                f"(an option), got {'no default' if field.default is MISSING else field.default!r}"
            )
    parameters = tuple(field.name for field in declared if field.default is None)
    return parameters, tuple(field.name for field in declared if field.default is not None)


@cache
def _parameter_tuple(names: tuple[str, ...]) -> Any:
    return namedtuple("Parameters", names)


def as_bool(name: str, value: Any) -> bool:
    """`value` if it is True or False, or one sentence saying that it must be."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def as_instance(algorithm: Algorithm | type[Algorithm]) -> Algorithm:
    """The record itself; a class stands for the record without values."""
    if isinstance(algorithm, type) and issubclass(algorithm, Algorithm):
        return algorithm()
    if isinstance(algorithm, Algorithm):
        return algorithm
    raise TypeError(f"algorithm must be an algorithm such as EASGD(eta=0.1, alpha=0.1), got {algorithm!r}")


def as_real(name: str, value: Any) -> np.ndarray:
    """`value` as a float array, or one sentence saying why not."""
    if callable(value):
        raise ValueError(f"{name} must be a number or an array of them, got a function: a time-varying rule has no map")
    if isinstance(value, float) and isfinite(value):  # as most are
        return np.array(value, dtype=float)
    try:
        array = np.asarray(value)
    except ValueError:  # a ragged list
        raise TypeError(f"{name} must be a real number or an array of them, got {value!r}") from None
    if (
        array.dtype.kind == "O" and None not in array.ravel().tolist()
    ):  # sympy numbers and fractions are numbers; symbols are not
        try:
            array = array.astype(float)
        except OverflowError:
            raise ValueError(f"{name} must be finite, got a number beyond the range of floats") from None
        except (TypeError, ValueError):
            raise TypeError(
                f"{name} must be a real number or an array of them, got {value!r}; symbols go to iteration_map"
            ) from None
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name} must be a real number or an array of them, got {value!r}")
    array = array.astype(float)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got {array[~np.isfinite(array)].flat[0]}")
    return array


def as_number(name: str, value: Any, where: str) -> float:
    """`value` as one float, or one sentence saying why not; `where` says what needs it to be one: "in training"."""
    number = as_real(name, value)
    if number.ndim:
        raise ValueError(f"{name} must be one number {where}, got an array of shape {number.shape}")
    return float(number)


def given_values(algorithm: Algorithm) -> dict[str, Any]:
    """All parameters by name; raises TypeError where one has no value."""
    values = {name: getattr(algorithm, name) for name in algorithm.parameters()}
    missing = [name for name, value in values.items() if value is None]
    if missing:
        raise TypeError(f"{type(algorithm).__name__} needs a value for {' and '.join(missing)}")
    return values


def numeric_values(algorithm: Algorithm, h: Any) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """All parameters and the curvature as finite float arrays.

    Raises
    ------
    TypeError
        A parameter has no value, or one that is no real number.
    ValueError
        A value is not finite, or the shapes do not broadcast.
    """
    arrays = {name: as_real(name, value) for name, value in given_values(algorithm).items()}
    curvature = as_real("h", h)
    try:
        np.broadcast_shapes(*(array.shape for array in arrays.values()), curvature.shape)
    except ValueError:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in (arrays | {"h": curvature}).items())
        raise ValueError(f"the parameters' shapes do not broadcast: {shapes}") from None
    return arrays, curvature
