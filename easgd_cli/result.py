"""What `easgd reproduce` found: the claims and the pictures, as the report and the JSON file show them."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from easgd_cli.claims import Claim


@dataclass(frozen=True)
class DrawnPicture:
    """A figure that has been written.

    Attributes
    ----------
    name, place, caption : str
        As in `Picture`.
    png : bytes
        The figure, for the report.
    width, height : int
        In pixels at which the report shows it.
    seconds : float
        To compute and to draw.
    """

    name: str
    place: str
    caption: str
    png: bytes
    width: int
    height: int
    seconds: float


@dataclass(frozen=True)
class Reproduction:
    """Everything that the report shows.

    Attributes
    ----------
    paper, beyond : tuple of Claim
        The paper's claims, and results beyond it.
    pictures : tuple of DrawnPicture
    quick : bool
        Coarse grids.
    finished : datetime
        When, in UTC.
    seconds : float
        The whole run.
    """

    paper: tuple[Claim, ...]
    beyond: tuple[Claim, ...]
    pictures: tuple[DrawnPicture, ...]
    quick: bool
    finished: datetime
    seconds: float

    def agree(self) -> bool:
        """Whether no claim disagrees."""
        return not any(claim.verdict == "disagrees" for claim in (*self.paper, *self.beyond))

    def summary(self) -> str:
        """How many claims agree, in a sentence."""
        agreeing = [claim for claim in self.paper if claim.verdict != "disagrees"]
        refined = sum(claim.verdict == "agrees, refined" for claim in agreeing)
        holding = sum(claim.verdict != "disagrees" for claim in self.beyond)
        return (
            f"{len(agreeing)} of {len(self.paper)} claims agree, {refined} of them refined; "
            f"{holding} of {len(self.beyond)} results beyond the paper hold"
        )

    def versions(self) -> dict[str, str]:
        """Versions of what computed it."""
        packages = ("numpy", "scipy", "sympy", "numba", "xarray", "matplotlib")
        return {"python": platform.python_version()} | {name: version(name) for name in packages}

    def record(self) -> dict[str, Any]:
        """The results for JSON."""
        claims = [asdict(claim) | {"list": "paper"} for claim in self.paper]
        claims += [asdict(claim) | {"list": "beyond"} for claim in self.beyond]
        return {
            "version": version("easgd"),
            "versions": self.versions(),
            "quick": self.quick,
            "finished": self.finished.isoformat(timespec="seconds"),
            "seconds": round(self.seconds, 3),
            "summary": self.summary(),
            "agree": self.agree(),
            "claims": claims,
            "figures": [
                {
                    "name": picture.name,
                    "files": [f"{picture.name}{suffix}" for suffix in (".png", ".svg", ".nc")],
                    "seconds": round(picture.seconds, 3),
                }
                for picture in self.pictures
            ],
        }
