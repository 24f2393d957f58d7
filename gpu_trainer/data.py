"""The data sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from gpu_trainer import published, streams
from gpu_trainer.images import Images, ImagesInMemory, class_folders, image_folder

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")  # where Debian's package dataset-fashion-mnist puts it


@dataclass(frozen=True, eq=False)
class Data:
    """Images to train on and images to test on.

    Attributes
    ----------
    name : str
        As `load` knows it.
    train, test : Images
        Unsigned bytes and labels; `gpu_trainer.images` says what they offer.
    classes : int
        Their number; labels go from 0 to classes - 1.
    crop : int or None
        The side of the patches: random ones to train on, the center to measure. None: the whole images.
    flip : bool
        Whether half of the patches to train on are mirrored, left to right.
    white : int
        The largest value of a pixel: pixels are divided by it, so that they lie in [0, 1].
    """

    name: str
    train: Images
    test: Images
    classes: int
    crop: int | None = None
    flip: bool = False
    white: int = 255

    @property
    def channels(self) -> int:
        """1 (gray) or 3 (red, green, blue)."""
        return self.train.channels

    @property
    def side(self) -> int:
        """The side of what a model sees."""
        return self.crop or self.train.side


def load(name: str, directory: str | Path | None = None) -> Data:
    """Load a data set.

    Parameters
    ----------
    name : str
        ``digits``: 1,797 digits of 8 x 8 that come with scikit-learn, 1,437 of them to train on (a fixed split, equal
        in all classes up to one). ``fashion-mnist``: the four idx files, plain or gzipped. ``cifar10``: the published
        python or binary files, or their archive; 28 x 28 patches and flips. ``imagefolder``: directories ``train`` and
        ``val`` with one folder of images per class, as ImageNet is kept; read when needed, the shorter side resized to
        256; 221 x 221 patches and flips.
    directory : path, optional
        Where the files are. ``digits`` has none; ``fashion-mnist`` is by default looked for where Debian's package
        dataset-fashion-mnist puts it; ``cifar10`` and ``imagefolder`` need it. For ``cifar10`` it may be the archive.

    Returns
    -------
    Data

    Raises
    ------
    ValueError
        If the name is unknown, a directory is missing or superfluous, or a file is damaged or truncated.
    FileNotFoundError
        If a file is not there.

    References
    ----------
    Zhang, Choromanska, LeCun (2015), arXiv:1412.6651, Section 5 and Supplement 9: patches and flips.

    Examples
    --------
    >>> data = load("digits")
    >>> len(data.train), len(data.test), data.channels, data.side, data.classes
    (1437, 360, 1, 8, 10)
    """
    if name not in _LOADERS:
        raise ValueError(f"data must be one of {', '.join(_LOADERS)}, got {name!r}")
    return _LOADERS[name](None if directory is None else Path(directory))


def _digits(directory: Path | None) -> Data:
    if directory is not None:
        raise ValueError(f"digits come with scikit-learn and have no directory, got {str(directory)!r}")
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = streams.generator(0, "split of the digits").permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]  # by class, at random within a class
    tested = np.zeros(len(labels), dtype=bool)
    tested[order[::5]] = True
    pixels = images.reshape(-1, 1, 8, 8).astype(np.uint8)
    train, test = (_in_memory((pixels[chosen], labels[chosen])) for chosen in (~tested, tested))
    return Data("digits", train, test, classes=10, white=16)


def _fashion_mnist(directory: Path | None) -> Data:
    train, test = map(_in_memory, published.fashion_mnist(directory or FASHION_MNIST))
    return Data("fashion-mnist", train, test, classes=published.CLASSES)


def _cifar10(directory: Path | None) -> Data:
    train, test = map(_in_memory, published.cifar10(_needed("cifar10", directory)))
    return Data("cifar10", train, test, classes=published.CLASSES, crop=28, flip=True)


def _image_folder(directory: Path | None) -> Data:
    root = _needed("imagefolder", directory)
    classes, tested = class_folders(root / "train"), class_folders(root / "val")
    if classes != tested:
        different = sorted(set(classes) ^ set(tested))
        raise ValueError(f"train and val in {root} must have the same classes, only one has {different[0]!r}")
    train, test = (image_folder(root / part, classes) for part in ("train", "val"))
    return Data("imagefolder", train, test, classes=len(classes), crop=221, flip=True)


_LOADERS: dict[str, Callable[[Path | None], Data]] = {
    "digits": _digits,
    "fashion-mnist": _fashion_mnist,
    "cifar10": _cifar10,
    "imagefolder": _image_folder,
}


def _needed(name: str, directory: Path | None) -> Path:
    if directory is None:
        raise ValueError(f"{name} needs a directory: where its files are")
    return directory


def _in_memory(examples: published.Examples) -> ImagesInMemory:
    images, labels = examples
    return ImagesInMemory(torch.tensor(images), torch.tensor(labels, dtype=torch.int64))
