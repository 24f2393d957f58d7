"""What a network does: the same algorithms on real models, in one process and in many."""

from __future__ import annotations

from typing import TYPE_CHECKING

from easgd_theory.lazily import exports

if TYPE_CHECKING:
    from gpu_trainer.crew import Crew
    from gpu_trainer.curvature import HessianVectorProduct
    from gpu_trainer.elastic import ElasticAveraging
    from gpu_trainer.lanczos import extremes
    from gpu_trainer.measured import measured_map
    from gpu_trainer.run import Job, train

_HOME = {
    "crew": "Crew",
    "curvature": "HessianVectorProduct",
    "elastic": "ElasticAveraging",
    "lanczos": "extremes",
    "measured": "measured_map",
    "run": "Job train",
}

__all__ = ["Crew", "ElasticAveraging", "HessianVectorProduct", "Job", "extremes", "measured_map", "train"]

__getattr__, __dir__ = exports(__name__, _HOME)
