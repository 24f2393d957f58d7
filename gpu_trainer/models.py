"""The networks.

Their initial parameters are decided by the seed alone: weights are normal with variance 2 / fan-in (He et al. 2015,
arXiv:1502.01852), biases constant; a user's own network draws its own. All are drawn in single precision and then
converted, so that a run in float64 starts from the same point as one in float32.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module

import torch
from torch import nn

from gpu_trainer import streams
from gpu_trainer.data import Data


def build(name: str, data: Data, seed: int = 0, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Build a network for a data set, on the CPU.

    Parameters
    ----------
    name : str
        ``cifar7`` (28 x 28) or ``imagenet11`` (221 x 221): the paper's networks. ``cnn``: two convolutions and a linear
        layer with smooth activations, 5,050 parameters on digits. ``tiny``: likewise with 1,446, for what needs many
        Hessian-vector products. Or ``module:factory``: a function or class that returns a ``torch.nn.Module``, with its
        initial parameters, and is called with those of `channels`, `side` and `classes` that it has as parameters.
    data : Data
        Gives the channels and the side of the images and the number of classes.
    seed : int, default 0
        Of the initial parameters: all workers and the center start from the same.
    dtype : torch.dtype, default torch.float32
        Of the parameters.

    Returns
    -------
    torch.nn.Module
        From images (b, channels, side, side) to logits (b, classes).

    Raises
    ------
    ValueError
        If the name is unknown, a factory cannot be imported or called or returns something else, or the network does
        not take the data's images or has not one output for each class.

    References
    ----------
    Zhang, Choromanska, LeCun (2015), arXiv:1412.6651, Section 5 and Supplement 9.

    Examples
    --------
    >>> from gpu_trainer.data import load
    >>> sum(parameter.numel() for parameter in build("tiny", load("digits")).parameters())
    1446
    """
    make = MODELS.get(name) or _factory(name)
    with streams.drawing("cpu", seed, "parameters"):
        module = make(data.channels, data.side, data.classes).to(dtype)
        _check(name, module, data, dtype)
    return module


# The paper's networks. After (c, y), an input of c channels and side y, stand C, a convolution; P, a maximum over a
# window; D, a linear layer with dropout 0.5 of its inputs; S, the linear layer of the softmax. The rectifier follows
# the pool: in that order it gives the same with a fraction of the work.


def cifar7(channels: int, side: int, classes: int) -> nn.Module:
    """(3,28)C(64,24)P(64,12)C(128,8)P(128,4)C(64,2)D(256,1)S(10,1), biases from 0."""
    _require_side("cifar7", side, 28)
    network = nn.Sequential(
        *(nn.Conv2d(channels, 64, 5), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Conv2d(64, 128, 5), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Conv2d(128, 64, 3), nn.ReLU()),
        nn.Flatten(),
        *(nn.Dropout(0.5), nn.Linear(64 * 2 * 2, 256), nn.ReLU()),
        nn.Linear(256, classes),
    )
    return _initialised(network, bias=0.0)


def imagenet11(channels: int, side: int, classes: int) -> nn.Module:
    """The paper's network for ImageNet, biases from 0.1.

    (3,221)C(96,108)P(96,36)C(256,32)P(256,16)C(384,14)C(384,13)C(256,12)P(256,6)D(4096,1)D(4096,1)S(1000,1). The sizes
    decide the kernels: 7 with stride 2, 5, 3, 2, 2; and the pools: 3, 2, 2.
    """
    _require_side("imagenet11", side, 221)
    network = nn.Sequential(
        *(nn.Conv2d(channels, 96, 7, stride=2), nn.MaxPool2d(3), nn.ReLU()),
        *(nn.Conv2d(96, 256, 5), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Conv2d(256, 384, 3), nn.ReLU()),
        *(nn.Conv2d(384, 384, 2), nn.ReLU()),
        *(nn.Conv2d(384, 256, 2), nn.MaxPool2d(2), nn.ReLU()),
        nn.Flatten(),
        *(nn.Dropout(0.5), nn.Linear(256 * 6 * 6, 4096), nn.ReLU()),
        *(nn.Dropout(0.5), nn.Linear(4096, 4096), nn.ReLU()),
        nn.Linear(4096, classes),
    )
    return _initialised(network, bias=0.1)


# Smooth networks: the loss has all derivatives, so that curvature means something everywhere.


def cnn(channels: int, side: int, classes: int) -> nn.Module:
    """Two convolutions of 16 channels, a pool between them, a linear layer."""
    network = nn.Sequential(
        *(nn.Conv2d(channels, 16, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2)),
        *(nn.Conv2d(16, 16, 3, padding=1), nn.Tanh()),
        nn.Flatten(),
        nn.Linear(16 * (side // 2) ** 2, classes),
    )
    return _initialised(network, bias=0.0)


def tiny(channels: int, side: int, classes: int) -> nn.Module:
    """Convolutions of 8 and 12 channels with a pool after each, a linear layer."""
    network = nn.Sequential(
        *(nn.Conv2d(channels, 8, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2)),
        *(nn.Conv2d(8, 12, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2)),
        nn.Flatten(),
        nn.Linear(12 * (side // 4) ** 2, classes),
    )
    return _initialised(network, bias=0.0)


MODELS: dict[str, Callable[[int, int, int], nn.Module]] = {
    "cifar7": cifar7,
    "imagenet11": imagenet11,
    "cnn": cnn,
    "tiny": tiny,
}


def _initialised(network: nn.Sequential, bias: float) -> nn.Sequential:
    for layer in network:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.constant_(layer.bias, bias)  # type: ignore[arg-type]
    return network


def _require_side(name: str, side: int, needed: int) -> None:
    if side != needed:
        raise ValueError(f"model {name!r} needs images of {needed} x {needed} pixels, got {side} x {side}")


# A user's own


def _factory(name: str) -> Callable[[int, int, int], nn.Module]:
    """The factory that ``module:factory`` names, as a function of (channels, side, classes)."""
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise ValueError(f"model must be one of {', '.join(MODELS)}, or module:factory, got {name!r}")
    try:
        factory = getattr(import_module(module), attribute)
        known = inspect.signature(factory).parameters
    except Exception as error:  # importing runs a user's code
        raise ValueError(f"model {name!r} cannot be imported: {_sentence(error)}") from error

    def make(channels: int, side: int, classes: int) -> nn.Module:
        offered = {"channels": channels, "side": side, "classes": classes}
        try:
            network = factory(**{parameter: offered[parameter] for parameter in offered if parameter in known})
        except Exception as error:
            raise ValueError(f"model {name!r} cannot be built: {_sentence(error)}") from error
        if not isinstance(network, nn.Module):
            raise ValueError(f"model {name!r} must return a torch.nn.Module, got {type(network).__name__}")
        return network

    return make


def _check(name: str, network: nn.Module, data: Data, dtype: torch.dtype) -> None:
    """Whether the network takes the data's images; lazy modules get their sizes here."""
    image = torch.zeros(2, data.channels, data.side, data.side, dtype=dtype)
    modes = {module: module.training for module in network.modules()}
    try:
        with torch.no_grad():
            logits = network.eval()(image)
    except Exception as error:
        shape = " x ".join(map(str, image.shape[1:]))
        raise ValueError(f"model {name!r} does not take images of {shape}: {_sentence(error)}") from error
    for module, mode in modes.items():
        module.training = mode
    if not isinstance(logits, torch.Tensor) or logits.shape != (2, data.classes):
        got = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise ValueError(f"model {name!r} must return logits of shape (2, {data.classes}) for 2 images, got {got}")


def _sentence(error: Exception) -> str:
    """An error of a user's code, on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
