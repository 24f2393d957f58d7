"""The slow mode that grows most: Newton's method from the branches, and a count of those right of what it found."""

from __future__ import annotations

import numpy as np

from easgd_theory.fast_modes import polynomial_roots
from easgd_theory.slow_equation import branches, growth_at, modes_right_of, rounding_at, without_means

_SLACK = 1e-9  # of the logarithm of the radius: how far right of the modes found the line of the count lies
_LARGEST = 700.0  # logarithm of the largest modulus that is told from infinity
_STEPS = 40
_TURNS = (3, 40)  # up to how many turns modes are looked for, at first and where that was not enough


def rightmost(H: np.ndarray, floor: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Real part of the rightmost slow mode, the slope of h there, and whether no other lies right of it and of `floor`.

    Parameters
    ----------
    H : ndarray, shape (points, m + 1, q + 1, r + 1)
    floor : ndarray, shape (points,)
        Modes left of it need not be found: the logarithm of the fast modes' largest modulus.
    """
    H = H / np.abs(H).max(axis=(1, 2, 3), keepdims=True)
    top, slope = np.full(len(H), -np.inf), np.full(len(H), np.inf)
    certified = np.zeros(len(H), dtype=bool)
    for turns in _TURNS:
        rest = np.flatnonzero(~certified)
        if len(rest):
            top[rest], slope[rest], blur = _largest_root(H[rest], turns)
            line = np.maximum(top[rest], floor[rest]) + _SLACK
            known = ((blur < _SLACK) | (top[rest] < floor[rest])) & (line < _LARGEST)
            certified[rest] = (line >= _LARGEST) & (blur < 1)
            certified[rest[known]] = modes_right_of(H[rest[known]], line[known]) == 0
    return top, slope, certified


def _largest_root(H: np.ndarray, turns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Real part of the rightmost root found, the slope of h there, and by how much rounding may move it."""
    roots, slopes = _newton(H, _starts(H, turns))
    best = np.argmax(roots.real, axis=1)[:, None]
    s, slope = np.take_along_axis(roots, best, axis=1)[:, 0], np.take_along_axis(slopes, best, axis=1)[:, 0]
    found = np.isfinite(s.real)
    safe = np.where(found, s, 0.0)
    blur = np.where(found, rounding_at(H, safe, slope) / np.abs(slope), np.inf)
    return s.real, np.abs(slope), blur


def _newton(H: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Roots of h from each start, -inf where it does not settle, and the slope of h there; shape of the starts."""
    count = starts.shape[1]
    s, point = starts.ravel().copy(), np.repeat(np.arange(len(H)), count)
    result, slope = np.full(s.shape, -np.inf + 0j), np.full(s.shape, np.inf + 0j)
    active, before = np.arange(len(s)), np.full(len(s), np.inf)
    for _ in range(_STEPS):
        f, df = growth_at(H[point[active]], s[active])
        step = np.where(f == 0, 0.0, f / df)
        step /= np.maximum(1.0, np.abs(step) / (1 + np.abs(s[active])))
        s[active] -= step
        size = np.abs(step)
        done = (size <= 4e-16 * np.abs(s[active])) | ((size < 1e-7) & (size >= before / 4))  # no more digits to gain
        result[active[done]], slope[active[done]] = s[active[done]], df[done]
        rest = ~done & np.isfinite(s[active])
        active, before = active[rest], size[rest]
        if not len(active):
            break
    return result.reshape(-1, count), slope.reshape(-1, count)


def _starts(H: np.ndarray, turns: int) -> np.ndarray:
    """Where roots are expected: near 0, near a pole of a branch, and on the branches after each number of turns."""
    G = without_means(H)
    starts = [np.broadcast_to(np.array([0j, -0.5, 0.5, -2.0]), (len(H), 4)), polynomial_roots(G[:, -1]) + 0j]
    for turn in range(turns + 1):
        s = np.full(len(H), 2j * np.pi * turn if turn else 1.5j)
        for _ in range(2):
            w = 1 + branches(G, s)
            guesses = np.log(np.where(w == 0, 1e-9, w)) + 2j * np.pi * turn
            s = guesses[0]
        starts.append(guesses.T)
    return np.concatenate(starts, axis=1)
