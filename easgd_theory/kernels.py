"""Modules of plain scalar functions: how they are compiled, and run over many points."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from inspect import getsource
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

_BLOCK = 64  # neighbouring points, which a thread takes at a time
_DIGEST = "__digest__"


def compiled_functions(modules: tuple[ModuleType, ...], within: dict[str, Any] | None = None) -> dict[str, Any]:
    """The functions of some modules, compiled by numba, as a namespace of their own, or within that of others.

    Numba keeps machine code as long as the *caller's* file does not change, whatever becomes of what it calls. So the
    name under which it is kept bears a hash of all the sources.
    """
    import numba

    within = within or {_DIGEST: ""}
    digest = sha256("".join([within[_DIGEST], *map(getsource, modules)]).encode()).hexdigest()[:16]
    namespace: dict[str, Any] = {}
    for module in modules:
        namespace |= vars(module)
    own = {module.__name__ for module in modules}
    functions = [value for value in namespace.values() if isinstance(value, FunctionType) and value.__module__ in own]
    namespace |= within | {_DIGEST: digest}
    for function in functions:
        plain = FunctionType(function.__code__, namespace, function.__name__)
        plain.__module__, plain.__qualname__ = function.__module__, f"{function.__name__}_{digest}"
        namespace[function.__name__] = numba.njit(cache=True, error_model="numpy", nogil=True)(plain)
    return namespace


def run_in_blocks(kernel: Callable[..., Any], *arguments: Any) -> None:
    """Call a kernel, whose arrays have a row for each point, on blocks of points, always the same ones.

    They are spread over as many threads as NUMBA_NUM_THREADS allows: the kernels release the interpreter's lock.
    """
    from numba import config

    def some(starts: Iterable[int]) -> None:
        for start in starts:
            block = slice(start, start + _BLOCK)
            kernel(*(argument[block] if isinstance(argument, np.ndarray) else argument for argument in arguments))

    starts = range(0, len(arguments[0]), _BLOCK)
    workers = min(int(config.NUMBA_NUM_THREADS), len(starts))  # type: ignore[attr-defined]
    if workers <= 1:
        some(starts)
        return
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(some, (starts[k::workers] for k in range(workers))))
