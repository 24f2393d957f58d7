"""Images and their labels, in memory or in folders of files, from which batches cut patches."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

SHORTER_SIDE = 256  # to which an image file is resized
_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff")


class Images(ABC):
    """n images and their labels.

    Attributes
    ----------
    labels : Tensor of shape (n,), int64
        The classes, from 0.
    channels : int
        1 (gray) or 3 (red, green, blue).
    side : int
        The side of the largest square patch that every image has.
    in_memory : bool
        Whether no file is read for a patch.
    """

    labels: Tensor
    in_memory = True

    @property
    @abstractmethod
    def channels(self) -> int: ...

    @property
    @abstractmethod
    def side(self) -> int: ...

    @abstractmethod
    def patches(self, index: Tensor, side: int, positions: Tensor, flips: Tensor | None = None) -> Tensor:
        """Square patches of some of the images.

        Parameters
        ----------
        index : Tensor of shape (b,), int64, on the CPU
            Which images.
        side : int
            Of the patches.
        positions : Tensor of shape (b, 2), float64, on the CPU
            Row and column of each patch, from 0 (the first) to 1 (beyond the last); 1/2 is the center.
        flips : Tensor of shape (b,), bool, on the CPU, optional
            Which patches are mirrored, left to right.

        Returns
        -------
        Tensor of shape (b, channels, side, side), uint8
        """

    @abstractmethod
    def to(self, device: torch.device | str) -> Images:
        """The same on another device, as far as it is held in memory."""

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class ImagesInMemory(Images):
    """Images of one size, held as one tensor.

    Attributes
    ----------
    images : Tensor of shape (n, channels, side, side), uint8
    labels : Tensor of shape (n,), int64

    Examples
    --------
    >>> images = ImagesInMemory(torch.arange(18, dtype=torch.uint8).reshape(2, 1, 3, 3), torch.tensor([0, 1]))
    >>> images.patches(torch.tensor([1]), 1, torch.tensor([[0.5, 0.5]])).item()
    13
    """

    images: Tensor
    labels: Tensor

    @property
    def channels(self) -> int:
        return self.images.shape[1]

    @property
    def side(self) -> int:
        return self.images.shape[2]

    def patches(self, index: Tensor, side: int, positions: Tensor, flips: Tensor | None = None) -> Tensor:
        windows = self.images.unfold(2, side, 1).unfold(3, side, 1)  # a view: (n, channels, rows, columns, side, side)
        corners = _corners(positions, torch.tensor(windows.shape[2:4]))
        where = torch.cat((index[None], corners.T)).to(self.images.device)
        patches = windows[where[0], :, where[1], where[2]]
        return patches if flips is None else _mirrored(patches, flips)

    def to(self, device: torch.device | str) -> ImagesInMemory:
        return ImagesInMemory(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True, eq=False)
class ImageFolder(Images):
    """Image files of any size, read when they are needed: as RGB, the shorter side resized to 256.

    Attributes
    ----------
    files : tuple of Path, n of them
    labels : Tensor of shape (n,), int64
    """

    files: tuple[Path, ...]
    labels: Tensor

    channels = 3
    side = SHORTER_SIDE
    in_memory = False

    @cached_property
    def _readers(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1), thread_name_prefix="images")

    def patches(self, index: Tensor, side: int, positions: Tensor, flips: Tensor | None = None) -> Tensor:
        out = torch.empty((len(index), self.channels, side, side), dtype=torch.uint8)

        def read(row: int) -> None:
            out[row] = _read_patch(self.files[index[row]], side, positions[row]).permute(2, 0, 1)

        list(self._readers.map(read, range(len(index))))  # the list raises what a reader raised
        return out if flips is None else _mirrored(out, flips)

    def to(self, device: torch.device | str) -> ImageFolder:
        return replace(self, labels=self.labels.to(device))


def class_folders(directory: Path) -> list[str]:
    """The names of the classes of a directory that has one folder for each, in alphabetical order."""
    if not directory.is_dir():
        raise FileNotFoundError(
            f"imagefolder looked for the directory {directory}, with one folder per class: not found"
        )
    classes = sorted(entry.name for entry in os.scandir(directory) if entry.is_dir() and not entry.name.startswith("."))
    if not classes:
        raise FileNotFoundError(f"imagefolder looked in {directory} for one folder per class: there is none")
    return classes


def image_folder(directory: Path, classes: list[str]) -> ImageFolder:
    """The image files in the folders of these classes, in alphabetical order."""
    files: list[Path] = []
    counts = []
    for name in classes:
        found = sorted(entry.name for entry in os.scandir(directory / name) if _is_image(entry))
        if not found:
            raise FileNotFoundError(
                f"imagefolder looked in {directory / name} for images ({' '.join(_SUFFIXES)}): none"
            )
        files += [directory / name / file for file in found]
        counts.append(len(found))
    return ImageFolder(tuple(files), torch.repeat_interleave(torch.arange(len(classes)), torch.tensor(counts)))


def _is_image(entry: os.DirEntry[str]) -> bool:
    return entry.name.lower().endswith(_SUFFIXES) and not entry.name.startswith(".")


def _corners(positions: Tensor, places: Tensor) -> Tensor:
    """Rows and columns of the patches' corners, where each has so many places."""
    return (positions * places).long()


def _mirrored(patches: Tensor, flips: Tensor) -> Tensor:
    return torch.where(flips.to(patches.device)[:, None, None, None], patches.flip(-1), patches)


def _read_patch(path: Path, side: int, position: Tensor) -> Tensor:
    """One patch of one file, (side, side, 3)."""
    from PIL import Image

    try:
        with Image.open(path) as file:
            image = file.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read as an image: {error}") from error
    scale = SHORTER_SIDE / min(image.size)
    width, height = (max(SHORTER_SIDE, round(length * scale)) for length in image.size)
    row, column = _corners(position, torch.tensor((height, width)) - side + 1).tolist()
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(resized.crop((column, row, column + side, row + side))))
