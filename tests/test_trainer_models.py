"""The networks: the sizes that the paper prints, parameters that the seed decides, a user's own factories."""

import re

import pytest
import torch
from torch import nn

from gpu_trainer import streams
from gpu_trainer.batches import Batches
from gpu_trainer.data import Data, load
from gpu_trainer.images import ImagesInMemory
from gpu_trainer.models import MODELS, build

PRINTED = {  # Supplement 9 of the paper; (c,y): channels and side of a layer's input
    "cifar7": "(3,28)C(64,24)P(64,12)C(128,8)P(128,4)C(64,2)D(256,1)S(10,1)",
    "imagenet11": "(3,221)C(96,108)P(96,36)C(256,32)P(256,16)C(384,14)C(384,13)C(256,12)P(256,6)"
    "D(4096,1)D(4096,1)S(1000,1)",
}
LETTERS = {nn.Conv2d: "C", nn.MaxPool2d: "P"}


def printed(name):
    """Letters of the layers, and channels and side before and after each."""
    letters = re.findall(r"[CPDS]", PRINTED[name])
    sizes = [(int(c), int(y)) for c, y in re.findall(r"\((\d+),(\d+)\)", PRINTED[name])]
    return letters, sizes


def images_of(channels, side, classes):
    """A data set of two black images."""
    images = ImagesInMemory(torch.zeros(2, channels, side, side, dtype=torch.uint8), torch.arange(2))
    return Data("black", images, images, classes)


@pytest.fixture(scope="module")
def networks():
    return {name: build(name, images_of(*printed(name)[1][0], printed(name)[1][-1][0])) for name in PRINTED}


@pytest.mark.parametrize("name", PRINTED)
def test_layers_and_sizes_are_those_that_the_paper_prints(networks, name):
    letters, sizes = printed(name)
    got_letters, got_sizes, dropped = [], [sizes[0]], False
    x = torch.zeros(1, sizes[0][0], sizes[0][1], sizes[0][1])
    for layer in networks[name].eval():
        x = layer(x)
        if isinstance(layer, nn.Linear):
            got_letters.append("D" if dropped else "S")
            got_sizes.append((x.shape[1], 1))
        elif type(layer) in LETTERS:
            assert x.shape[2] == x.shape[3]
            got_letters.append(LETTERS[type(layer)])
            got_sizes.append(tuple(x.shape[1:3]))
        dropped = isinstance(layer, nn.Dropout)
    assert (got_letters, got_sizes) == (letters, sizes)


@pytest.mark.parametrize("name", PRINTED)
def test_every_inner_layer_is_rectified_once_and_dropout_is_a_half(networks, name):
    letters, _ = printed(name)
    kinds = [type(layer) for layer in networks[name]]
    assert kinds.count(nn.ReLU) == len(letters) - letters.count("P") - 1
    assert all(layer.p == 0.5 for layer in networks[name] if isinstance(layer, nn.Dropout))
    weights = [n for n, kind in enumerate(kinds) if kind in (nn.Conv2d, nn.Linear)]
    for start, stop in zip(weights, [*weights[1:], None], strict=True):
        assert kinds[start:stop].count(nn.ReLU) == (stop is not None)


def test_of_imagenets_kernels_only_one_gives_the_printed_sizes(networks):
    layers = [layer for layer in networks["imagenet11"] if isinstance(layer, nn.Conv2d | nn.MaxPool2d)]
    letters, sizes = printed("imagenet11")
    for layer, letter, (_, before), (_, after) in zip(layers, letters, sizes, sizes[1:], strict=False):
        kernel, stride = (getattr(layer, part) for part in ("kernel_size", "stride"))
        kernel, stride = (part if isinstance(part, int) else part[0] for part in (kernel, stride))
        exact = [(k, s) for k in range(1, 12) for s in range(1, k + 1) if (after - 1) * s + k == before]
        exact = [(k, s) for k, s in exact if letter == "C" or k == s]  # windows of a pool do not overlap
        assert exact == [(kernel, stride)]


@pytest.mark.parametrize("name", PRINTED)
def test_the_number_of_parameters_follows_from_the_printed_sizes(networks, name):
    letters, sizes = printed(name)
    kernels = iter({"cifar7": (5, 5, 3), "imagenet11": (7, 5, 3, 2, 2)}[name])
    expected = 0
    for letter, (channels, side), (after, _) in zip(letters, sizes[:-1], sizes[1:], strict=True):
        if letter != "P":
            window = next(kernels) if letter == "C" else side
            expected += (channels * window**2 + 1) * after
    assert sum(parameter.numel() for parameter in networks[name].parameters()) == expected


@pytest.mark.parametrize(("name", "bias"), [("cifar7", 0.0), ("imagenet11", 0.1), ("cnn", 0.0), ("tiny", 0.0)])
def test_initial_weights_have_variance_2_over_fan_in_and_biases_are_constant(networks, name, bias):
    network = networks[name] if name in networks else build(name, load("digits"))
    for layer in network:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            weight = layer.weight.detach().double()
            fan_in = weight[0].numel()
            assert abs(weight.var().item() * fan_in / 2 - 1) < 5 * (2 / weight.numel()) ** 0.5
            assert abs(weight.mean().item()) < 5 * (2 / fan_in / weight.numel()) ** 0.5
            assert (layer.bias == bias).all()


def test_pool_and_rectifier_may_change_places(networks):
    x = torch.rand(4, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    layers = list(networks["cifar7"].eval())
    swapped = list(layers)
    for n, layer in enumerate(layers):
        if isinstance(layer, nn.MaxPool2d):
            swapped[n], swapped[n + 1] = layers[n + 1], layer
    assert torch.equal(nn.Sequential(*swapped)(x), networks["cifar7"](x))


# Seeds


def parameters(network):
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


@pytest.mark.parametrize("name", ["tiny", "cnn", "cifar7"])
def test_the_seed_alone_decides_about_the_parameters(name):
    data = images_of(3, 28, 10)
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first = parameters(build(name, data, seed=4))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(parameters(build(name, data, seed=4)), first)
    assert not torch.equal(parameters(build(name, data, seed=5)), first)
    double = parameters(build(name, data, seed=4, dtype=torch.float64))
    assert double.dtype == torch.float64
    assert torch.equal(double, first.double())


def test_dropout_is_keyed_and_measured_without():
    network = build("cifar7", images_of(1, 28, 10))
    x = torch.rand(8, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    out = []
    for clock in (0, 1, 0):
        with streams.drawing("cpu", 3, "dropout", 2, clock):
            out.append(network(x))
    assert network.training
    assert torch.equal(out[0], out[2])
    assert not torch.equal(out[0], out[1])
    assert torch.equal(network.eval()(x), network(x))


# Sizes and smoothness


@pytest.mark.parametrize("name", ["cnn", "tiny"])
@pytest.mark.parametrize("size", [(1, 8, 10), (1, 28, 10), (3, 28, 10), (3, 9, 2)])
def test_smooth_networks_take_any_size(name, size):
    channels, side, classes = size
    network = build(name, images_of(*size))
    assert network(torch.zeros(5, channels, side, side)).shape == (5, classes)
    assert not any(isinstance(layer, nn.ReLU | nn.MaxPool2d) for layer in network)


@pytest.mark.parametrize("name", ["cnn", "tiny"])
def test_smooth_networks_have_the_curvature_that_their_gradients_show(name):
    data = load("digits")
    network = build(name, data, dtype=torch.float64)
    images, labels = Batches(data, size=64, dtype=torch.float64).train(0, 0)
    names = [key for key, _ in network.named_parameters()]
    point = parameters(network)
    direction = torch.randn(len(point), dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def gradient(flat):
        pieces = flat.split([parameter.numel() for parameter in network.parameters()])
        shaped = [piece.view_as(parameter) for piece, parameter in zip(pieces, network.parameters(), strict=True)]
        logits = torch.func.functional_call(network, dict(zip(names, shaped, strict=True)), (images,))
        return torch.autograd.grad(nn.functional.cross_entropy(logits, labels), flat, create_graph=True)[0]

    here = point.clone().requires_grad_()
    (product,) = torch.autograd.grad(gradient(here) @ direction, here)
    step = 1e-5
    ahead, behind = (gradient((point + sign * step * direction).requires_grad_()).detach() for sign in (1, -1))
    assert torch.allclose((ahead - behind) / (2 * step), product, rtol=0, atol=1e-7 * product.norm().item())


def test_the_papers_networks_refuse_other_sides_and_follow_the_channels(refused):
    refused(lambda: build("cifar7", load("digits")), "cifar7", "28 x 28", "8 x 8")
    refused(lambda: build("cifar7", images_of(3, 32, 10)), "28 x 28", "32 x 32")
    refused(lambda: build("imagenet11", images_of(3, 224, 1000)), "221 x 221", "224 x 224")
    assert build("cifar7", images_of(1, 28, 7))(torch.zeros(1, 1, 28, 28)).shape == (1, 7)


def test_cnn_learns_digits():
    data = load("digits")
    network, batches = build("cnn", data), Batches(data, size=32)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.3)
    for clock in range(40 * batches.per_epoch):
        images, labels = batches.train(0, clock)
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
    with torch.no_grad():
        wrong = sum((network(images).argmax(1) != labels).sum().item() for images, labels in batches.test(100))
    assert wrong / len(data.test) < 0.03


# A user's own


FACTORIES = """
import torch
from torch import nn

def full(channels, side, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * side**2, classes))

def some(classes, width=5):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(width), nn.BatchNorm1d(width), nn.Linear(width, classes))

def nothing():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()

class Network(nn.Linear):
    def __init__(self, side, classes, **rest):
        assert not rest
        super().__init__(side**2, classes)
    def forward(self, x):
        return super().forward(x.flatten(1))

wrong_output = lambda: nn.Flatten()
a_pair = lambda: type("Pair", (nn.Module,), {"forward": lambda self, x: (x, x)})()
wrong_kind = lambda: [1, 2]
needs_more = lambda classes, depth: None
value = 3

def breaks():
    raise RuntimeError("first line\\nsecond line")
"""


@pytest.fixture
def factories(tmp_path, monkeypatch):
    (tmp_path / "users_own_networks.py").write_text(FACTORIES)
    (tmp_path / "users_broken_module.py").write_text("import nothing_of_this_name")
    monkeypatch.syspath_prepend(tmp_path)
    return "users_own_networks"


@pytest.mark.parametrize("name", ["full", "some", "nothing", "Network"])
def test_a_factory_is_called_with_what_it_asks_for(factories, name):
    data = load("digits")
    networks = [build(f"{factories}:{name}", data, seed, torch.float64) for seed in (0, 0, 1)]
    assert torch.equal(parameters(networks[0]), parameters(networks[1]))
    assert not torch.equal(parameters(networks[0]), parameters(networks[2]))
    assert parameters(networks[0]).dtype == torch.float64
    assert all(module.training == (name != "nothing") for module in networks[0].modules())
    assert networks[0](torch.zeros(3, 1, 8, 8, dtype=torch.float64)).shape == (3, 10)


def test_a_look_at_a_network_does_not_touch_its_buffers(factories):
    norm = build(f"{factories}:some", load("digits"))[2]
    assert norm.num_batches_tracked == 0
    assert (norm.running_mean == 0).all()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("users_own_networks:missing", ("cannot be imported", "AttributeError")),
        ("nothing_of_this_name:make", ("cannot be imported", "ModuleNotFoundError")),
        ("users_broken_module:make", ("cannot be imported", "nothing_of_this_name")),
        ("users_own_networks:value", ("cannot be imported", "not a callable")),
        ("users_own_networks:breaks", ("cannot be built", "RuntimeError: first line second line")),
        ("users_own_networks:needs_more", ("cannot be built", "depth")),
        ("users_own_networks:wrong_kind", ("torch.nn.Module", "list")),
        ("users_own_networks:wrong_output", ("(2, 10)", "(2, 64)")),
        ("users_own_networks:a_pair", ("(2, 10)", "tuple")),
        ("resnet", (*MODELS, "module:factory", "'resnet'")),
        ("module:", ("module:factory", "'module:'")),
        ("", ("module:factory", "''")),
    ],
)
def test_a_model_that_is_none_is_refused(factories, refused, name, words):
    refused(lambda: build(name, load("digits")), *words)


def test_a_factory_for_other_images_is_refused(factories, refused):
    refused(lambda: build(f"{factories}:nothing", images_of(1, 28, 10)), "does not take images of 1 x 28 x 28")
