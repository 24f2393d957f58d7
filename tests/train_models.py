"""Networks that tests name as ``train_models:factory``."""

import torch
from torch import Tensor, nn


def normalised(side: int = 8, classes: int = 10) -> nn.Module:
    """With batch normalisation, whose running statistics are buffers, and dropout."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(side * side, 16),
        nn.BatchNorm1d(16),
        nn.Tanh(),
        nn.Dropout(0.2),
        nn.Linear(16, classes),
    )


def channels_last(side: int = 8, classes: int = 10) -> nn.Module:
    """Parameters in another memory format."""
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(4 * (side - 4) ** 2, classes))
    return model.to(memory_format=torch.channels_last)


class Failing(nn.Module):
    """Fails at its first step, for a reason that it gives."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            raise OSError("the disk is on fire")
        return self.linear(images.flatten(1))
