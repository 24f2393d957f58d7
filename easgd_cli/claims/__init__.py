"""The paper's claims, recomputed: what it says, what comes out here, and whether the two agree."""

from __future__ import annotations

from easgd_cli.claims.beyond import STATEMENTS as _BEYOND
from easgd_cli.claims.kit import FULL, QUICK, Claim, Effort, Statement, Verdict
from easgd_cli.claims.lemma7 import STATEMENTS as _SECTION_7
from easgd_cli.claims.network import BEYOND as _NETWORK
from easgd_cli.claims.section4 import STATEMENTS as _SECTION_4
from easgd_cli.claims.simulated import BEYOND as _SIMULATED_BEYOND
from easgd_cli.claims.simulated import PAPER as _SIMULATED

PAPER: tuple[Statement, ...] = (*_SECTION_4, *_SECTION_7, *_SIMULATED)
BEYOND: tuple[Statement, ...] = (*_BEYOND, *_SIMULATED_BEYOND, *_NETWORK)

__all__ = ["BEYOND", "FULL", "PAPER", "QUICK", "Claim", "Effort", "Statement", "Verdict"]
