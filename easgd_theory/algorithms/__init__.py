"""One file per family, one line here per algorithm: this is the registry."""

from easgd_theory.algorithm import Algorithm
from easgd_theory.algorithms.admm import ADMM
from easgd_theory.algorithms.downpour import DOWNPOUR, MDOWNPOUR
from easgd_theory.algorithms.elastic import EAMSGD, EASGD
from easgd_theory.algorithms.outer import DiLoCo, LocalSGD, Lookahead
from easgd_theory.algorithms.sequential import MSGD, SGD

ALGORITHMS: dict[str, type[Algorithm]] = {
    algorithm.__name__.lower(): algorithm
    for algorithm in (EASGD, EAMSGD, ADMM, DOWNPOUR, MDOWNPOUR, SGD, MSGD, LocalSGD, DiLoCo, Lookahead)
}

__all__ = [
    "ADMM",
    "ALGORITHMS",
    "DOWNPOUR",
    "EAMSGD",
    "EASGD",
    "MDOWNPOUR",
    "MSGD",
    "SGD",
    "DiLoCo",
    "LocalSGD",
    "Lookahead",
]
