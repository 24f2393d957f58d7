"""Files as their authors publish them: the idx files of Fashion-MNIST and the two archives of CIFAR-10."""

from __future__ import annotations

import gzip
import io
import math
import pickle
import tarfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

Examples = tuple[np.ndarray, np.ndarray]
"""Images (n, channels, side, side), uint8, and labels (n,), int64."""

CLASSES = 10  # of either set


# Fashion-MNIST


def fashion_mnist(directory: Path) -> tuple[Examples, Examples]:
    """Training and test images of a directory with Fashion-MNIST's four idx files, plain or gzipped."""
    train, test = (_idx_pair(directory, part) for part in ("train", "t10k"))
    return train, test


def _idx_pair(directory: Path, part: str) -> Examples:
    images_file, labels_file = (
        _plain_or_gz(directory, f"{part}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1")
    )
    images, labels = _idx(images_file, 3), _idx(labels_file, 1)
    if images.shape[1:] != (28, 28):
        raise ValueError(f"{images_file} must hold images of 28 x 28, got {' x '.join(map(str, images.shape[1:]))}")
    return images[:, None], _checked(labels, len(images), labels_file)


def _plain_or_gz(directory: Path, name: str) -> Path:
    for path in (directory / name, directory / f"{name}.gz"):
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"fashion-mnist looked for {name} or {name}.gz in {directory}: not found "
        "(Debian and Ubuntu have the files: apt-get install dataset-fashion-mnist)"
    )


def _idx(path: Path, dimensions: int) -> np.ndarray:
    """The unsigned bytes of an idx file: a big-endian header with the shape, then the values."""
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is damaged or truncated: {error}") from error
    head = 4 + 4 * dimensions
    if raw[:4] != bytes((0, 0, 8, dimensions)) or len(raw) < head:
        raise ValueError(f"{path} is not an idx file of unsigned bytes with {dimensions} dimensions")
    shape = np.frombuffer(raw, ">u4", dimensions, offset=4).tolist()
    if len(raw) != head + math.prod(shape):
        raise ValueError(f"{path} must have {head + math.prod(shape)} bytes for its shape, got {len(raw)}: truncated?")
    return np.frombuffer(raw, np.uint8, offset=head).reshape(shape)


# CIFAR-10


_TRAIN = tuple(f"data_batch_{n}" for n in range(1, 6))
_TEST = "test_batch"
_PLACES = (
    "",
    "cifar-10-batches-py",
    "cifar-10-batches-bin",
    "cifar-10-python.tar.gz",
    "cifar-10-binary.tar.gz",
)
_NAMES = {name + suffix for name in (*_TRAIN, _TEST) for suffix in ("", ".bin")}
_PIXELS = 3 * 32 * 32


def cifar10(path: Path) -> tuple[Examples, Examples]:
    """Training and test images of CIFAR-10, from the python or the binary files.

    `path` is a directory with the six files, or with the archive or its unpacked folder, or the ``.tar.gz`` itself.
    """
    for place in dict.fromkeys(path / name for name in _PLACES):
        files = _batch_files(place)
        if files:
            break
    else:
        raise FileNotFoundError(
            f"cifar10 looked for {_TRAIN[0]} or {_TRAIN[0]}.bin in {path}, {', '.join(_PLACES[1:])}: not found "
            "(https://www.cs.toronto.edu/~kriz/cifar.html has the archives)"
        )
    suffix, read = ("", _python_batch) if _TRAIN[0] in files else (".bin", _binary_batch)
    missing = [name + suffix for name in (*_TRAIN, _TEST) if name + suffix not in files]
    if missing:
        raise FileNotFoundError(f"cifar10 looked for {', '.join(missing)} in {place}: not found")
    *train, test = (read(files[name + suffix], f"{place / name}{suffix}") for name in (*_TRAIN, _TEST))
    if len({len(labels) for _, labels in train}) > 1:
        counts = ", ".join(str(len(labels)) for _, labels in train)
        raise ValueError(f"the training files in {place} must hold equally many images, got {counts}: truncated?")
    images, labels = map(np.concatenate, zip(*train, strict=True))
    return (images, labels), test


def _batch_files(place: Path) -> dict[str, bytes]:
    """The content of those of CIFAR-10's files that are in a directory or an archive; nothing is unpacked to disk."""
    if place.is_dir():
        return {name: (place / name).read_bytes() for name in sorted(_NAMES) if (place / name).is_file()}
    if not place.is_file():
        return {}
    found = {}
    try:
        with gzip.open(place) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                name = Path(member.name).name
                if name in _NAMES and (content := archive.extractfile(member)) is not None:
                    found[name] = content.read()
            while stream.read(2**20):  # to the checksum, which stands at the end
                pass
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{place} is not a .tar.gz archive, or is damaged or truncated: {error}") from error
    return found


def _binary_batch(raw: bytes, where: str) -> Examples:
    """Records of a label's byte and the pixels of an image."""
    count, rest = divmod(len(raw), 1 + _PIXELS)
    if rest or not count:
        raise ValueError(f"{where} must have a multiple of {1 + _PIXELS} bytes, got {len(raw)}: truncated?")
    records = np.frombuffer(raw, np.uint8).reshape(count, 1 + _PIXELS)
    return records[:, 1:].reshape(count, 3, 32, 32), _checked(records[:, 0], count, where)


def _python_batch(raw: bytes, where: str) -> Examples:
    """A pickled dictionary with an array `data` and a list `labels`."""
    try:
        batch = _Unpickler(io.BytesIO(raw), encoding="bytes").load()
        images, labels = batch[b"data"].array(), np.array(batch[b"labels"])
        images = images.reshape(len(labels), 3, 32, 32)
    except Exception as error:  # a damaged pickle may raise anything
        raise ValueError(f"{where} is not a batch of CIFAR-10, or is damaged or truncated: {error}") from error
    return images, _checked(labels, len(images), where)


class _Unpickler(pickle.Unpickler):
    """Reads a batch and runs nothing: for the three things that its array is made of, a record stands in."""

    _KNOWN = {
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._KNOWN:
            raise pickle.UnpicklingError(f"it asks for {f'{module}.{name}'!r}, which has no place there")
        return _Recorded


class _Recorded:
    """What a pickle would have called or built, kept as it stands there."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def array(self) -> np.ndarray:
        """The array of unsigned bytes that numpy would have made of this."""
        _, shape, dtype, fortran, raw = self.state
        if dtype.arguments[0] not in (b"u1", "u1"):
            raise ValueError(f"its data must be unsigned bytes (u1), got {dtype.arguments[0]!r}")
        return np.frombuffer(raw, np.uint8).reshape(shape, order="F" if fortran else "C")


def _checked(labels: np.ndarray, count: int, where: object) -> np.ndarray:
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"{where} must hold a whole number for each of {count} images, got {labels.shape} {labels.dtype}"
        )
    if count == 0 or labels.min() < 0 or labels.max() >= CLASSES:
        raise ValueError(f"{where} must hold labels from 0 to {CLASSES - 1}, at least one")
    return labels.astype(np.int64)
