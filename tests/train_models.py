"""Networks that tests name as ``train_models:factory``."""

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


class Failing(nn.Module):
    """Fails at its first step, for a reason that it gives."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            raise OSError("the disk is on fire")
        return self.linear(images.flatten(1))
