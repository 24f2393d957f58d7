"""What a network does: the same algorithms on real models, in one process and in many."""

from __future__ import annotations

from typing import TYPE_CHECKING

from easgd_theory.lazily import exports

if TYPE_CHECKING:
    from gpu_trainer.averaging import Averaging
    from gpu_trainer.checks import validate
    from gpu_trainer.crew import Crew
    from gpu_trainer.curvature import HessianVectorProduct
    from gpu_trainer.elastic import ElasticAveraging
    from gpu_trainer.job import Decayed, Job
    from gpu_trainer.lanczos import extremes
    from gpu_trainer.launch import Processes
    from gpu_trainer.measured import measured_map
    from gpu_trainer.result import Failure
    from gpu_trainer.run import Keep, train

_HOME = {
    "averaging": "Averaging",
    "checks": "validate",
    "crew": "Crew",
    "curvature": "HessianVectorProduct",
    "elastic": "ElasticAveraging",
    "job": "Decayed Job",
    "lanczos": "extremes",
    "launch": "Processes",
    "measured": "measured_map",
    "result": "Failure",
    "run": "Keep train",
}

__all__ = [
    "Averaging",
    "Crew",
    "Decayed",
    "ElasticAveraging",
    "Failure",
    "HessianVectorProduct",
    "Job",
    "Keep",
    "Processes",
    "extremes",
    "measured_map",
    "train",
    "validate",
]

__getattr__, __dir__ = exports(__name__, _HOME)
