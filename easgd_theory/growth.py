"""The factor by which a trajectory grows in each round, measured from its end."""

from __future__ import annotations

import numpy as np

_WINDOW = 200


def measured_growth(path: np.ndarray, ignored: float = 1e-10) -> tuple[float, float]:
    """The modulus of the pair of roots that the last rounds of a path recur with.

    What one real factor or a pair of complex ones dominates obeys :math:`c_{t+1} = s c_t + m c_{t-1}` in the long run;
    s and m are fitted to the last rounds.

    Parameters
    ----------
    path : ndarray, shape (rounds, n)
        Finite numbers; n quantities that grow alike.
    ignored : float, default 1e-10
        A second root whose share is below this part of the first one's is taken for rounding.

    Returns
    -------
    growth : float
        The larger modulus of a root of :math:`z^2 - s z - m`.
    misfit : float
        What the recursion leaves unexplained, relative; large where noise or several factors are at work. inf where the
        path is too short to tell.

    Examples
    --------
    >>> growth, misfit = measured_growth(1.01 ** np.arange(9.0)[:, None] * [1.0, -2.0])
    >>> round(growth, 9), misfit < 1e-12
    (1.01, True)
    """
    tail = path[-_WINDOW:]
    scale = np.abs(tail).max(initial=0.0)
    if len(tail) < 6 or scale == 0.0:
        return np.nan, np.inf
    tail = tail / scale
    previous, last = np.stack([tail[1:-1].ravel(), tail[:-2].ravel()], axis=1), tail[2:].ravel()
    s, m = np.linalg.lstsq(previous, last, rcond=ignored)[0]
    misfit = np.linalg.norm(last - previous @ [s, m]) / max(float(np.linalg.norm(last)), 1e-300)
    return float(np.abs(np.roots([1, -s, -m])).max()), float(misfit)
