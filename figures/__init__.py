"""Figures: `figures.data` computes, `figures.simulated` simulates, `figures.draw` draws, `figures.style` saves."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from figures import data, draw, gallery, simulated, style
    from figures.style import save, write

__all__ = ["data", "draw", "gallery", "save", "simulated", "style", "write"]


def __getattr__(name: str) -> Any:
    """Import a submodule, or a function of `figures.style`, at first use (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    if name in ("save", "write"):
        return getattr(import_module(f"{__name__}.style"), name)
    return import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return sorted(__all__)
