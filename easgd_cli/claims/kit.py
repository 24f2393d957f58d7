"""What a claim is, and how it is judged."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

ROUNDING = 1e-9
"""A radius this close to 1 counts as 1, as in `is_stable`."""


class Verdict(StrEnum):
    """How the paper's statement and our numbers compare."""

    AGREES = "agrees"
    REFINED = "agrees, refined"
    DISAGREES = "disagrees"


@dataclass(frozen=True)
class Effort:
    """How finely the claims are checked.

    Attributes
    ----------
    grid : int
        Points along each axis of a grid of parameters; even, so that no grid meets a boundary by its symmetry.
    samples : int
        Random configurations.
    edges : int
        Values of a parameter at which a boundary is bisected.
    rounds : int
        Rounds of an iterated trajectory, before its growth is measured.
    replicas : int
        Independent runs of a simulation with noise.
    """

    grid: int
    samples: int
    edges: int
    rounds: int
    replicas: int


QUICK = Effort(grid=24, samples=20, edges=3, rounds=20_000, replicas=4_000)
FULL = Effort(grid=120, samples=200, edges=9, rounds=40_000, replicas=40_000)


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes
    ----------
    ours : str
        The finding in words, with its numbers.
    numbers : mapping
        The numbers alone.
    agrees : bool
        The comparison, decided by the numbers.
    refined : bool
        The paper's statement holds, and more can be said than it says.
    """

    ours: str
    numbers: Mapping[str, float]
    agrees: bool
    refined: bool = False


@dataclass(frozen=True)
class Claim:
    """A statement, judged.

    Attributes
    ----------
    identifier : str
        Such as ``"4.3"``.
    place : str
        Where it stands.
    statement : str
        The paper's statement, paraphrased.
    ours : str
        What was computed here.
    numbers : mapping
        The numbers in `ours`.
    verdict : Verdict
    seconds : float
        How long the check took.
    """

    identifier: str
    place: str
    statement: str
    ours: str
    numbers: Mapping[str, float]
    verdict: Verdict
    seconds: float


@dataclass(frozen=True)
class Statement:
    """A statement and its check."""

    identifier: str
    place: str
    text: str
    check: Callable[[Effort], Finding]

    def judge(self, effort: Effort) -> Claim:
        """Run the check."""
        began = time.perf_counter()
        found = self.check(effort)
        verdict = Verdict.DISAGREES
        if found.agrees:
            verdict = Verdict.REFINED if found.refined else Verdict.AGREES
        seconds = time.perf_counter() - began
        numbers = {name: n if isinstance(n, int) else float(n) for name, n in found.numbers.items()}  # none of numpy's
        return Claim(self.identifier, self.place, self.text, found.ours, numbers, verdict, seconds)


def middles(low: float, high: float, size: int) -> np.ndarray:
    """Middles of `size` equal cells of an open interval."""
    return low + (high - low) * (np.arange(size) + 0.5) / size


def radius_of(matrices: np.ndarray) -> np.ndarray:
    """Largest modulus of an eigenvalue; matrices of shape (..., n, n)."""
    return np.abs(np.linalg.eigvals(matrices)).max(axis=-1)


def about(value: float) -> str:
    """A number to one digit, as print writes it: ``2·10⁻¹⁴``."""
    digits, _, exponent = f"{value:.0e}".partition("e")
    if value == 0 or -3 < int(exponent) < 4:
        return f"{value:.1g}"
    raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{digits}·10{raised}"


def near_one(value: float) -> str:
    """A number whose distance to 1 is what matters."""
    return "exactly 1" if value == 1 else f"1 {'+' if value > 1 else '−'} {about(abs(value - 1))}"
