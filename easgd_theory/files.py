"""Files that are complete or not there, and what JSON can hold."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A path in the same directory, with the same suffix, for a new file that replaces `path` if the block succeeds.

    Whoever reads `path` sees the old content or the new one, whole; a block that fails leaves nothing behind.
    """
    temporary = path.with_name(f".{path.stem}-{uuid4().hex}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def finite(value: Any) -> Any:
    """`value` for JSON: records, lists and numbers as they are, but a float that is not finite becomes None."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
