"""Hessian-vector products and Lanczos: held against whole Hessians, other programs, and spectra known beforehand."""

import weakref

import numpy as np
import pytest
import scipy.sparse.linalg
import torch
from torch import nn
from torch.nn import functional

from gpu_trainer import lanczos
from gpu_trainer.curvature import LARGEST_DENSE, HessianVectorProduct, dense_hessian, exact_spectrum
from gpu_trainer.lanczos import extremes, interior

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def network(activation=nn.Tanh, pool=nn.AvgPool2d):
    torch.manual_seed(3)
    layers = (nn.Conv2d(1, 4, 3, padding=1), activation(), pool(2), nn.Flatten(), nn.Linear(36, 3))
    return nn.Sequential(*layers).double()


def examples(size=30, dtype=torch.float64):
    random = torch.Generator().manual_seed(5)
    images = torch.randn(size, 1, 6, 6, generator=random, dtype=torch.float64).to(dtype)
    return images, torch.randint(0, 3, (size,), generator=random)


def mean_loss(model, images, labels, batch=12):
    def losses():
        for first in range(0, len(labels), batch):
            part = slice(first, first + batch)
            yield functional.cross_entropy(model(images[part]), labels[part], reduction="sum") / len(labels)

    return losses


def whole_hessian(model, images, labels):
    """By torch's own `hessian`, of the loss as a function of the flat parameters, in one batch."""
    names, values = zip(*model.named_parameters(), strict=True)
    sizes = [value.numel() for value in values]

    def loss(flat):
        pieces = flat.split(sizes)
        given = {name: piece.view_as(value) for name, piece, value in zip(names, pieces, values, strict=True)}
        return functional.cross_entropy(torch.func.functional_call(model, given, (images,)), labels)

    flat = torch.cat([value.detach().reshape(-1) for value in values])
    return torch.autograd.functional.hessian(loss, flat)


@pytest.fixture(scope="module")
def setting():
    """A small network that is no minimum, its product and its whole Hessian."""
    model = network()
    images, labels = examples()
    product = HessianVectorProduct(model, mean_loss(model, images, labels))
    return model, product, whole_hessian(model, images, labels).numpy()


def vector(n, seed=0, dtype=torch.float64):
    return torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


# Hessian-vector products


class Flat(nn.Module):
    """Parameters of several shapes, for losses that are functions of all of them."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a = nn.Parameter(torch.randn(2, 3, dtype=torch.float64))
        self.b = nn.Parameter(torch.randn((), dtype=torch.float64))
        self.c = nn.Parameter(torch.randn(4, dtype=torch.float64))

    def flat(self):
        return torch.cat([parameter.reshape(-1) for parameter in self.parameters()])


def test_the_hessian_of_a_quadratic_is_exact_wherever_the_point_is():
    model = Flat()
    matrix = vector(121).reshape(11, 11)
    matrix = matrix + matrix.T

    def losses():
        x = model.flat()
        yield x @ matrix @ x / 2
        yield vector(11, seed=1) @ x  # linear: adds nothing

    product = HessianVectorProduct(model, losses)
    assert product.n == 11
    for seed in range(3):
        v = vector(11, seed=seed + 2)
        np.testing.assert_allclose(product(v), matrix @ v, atol=1e-13)
        with torch.no_grad():
            model.a += 1
    np.testing.assert_allclose(dense_hessian(product), matrix, atol=1e-13)


def test_the_hessian_is_that_of_the_point_at_the_call():
    model = Flat()
    product = HessianVectorProduct(model, lambda: [(model.flat() ** 3).sum() / 6])
    for _ in range(2):
        v = vector(11)
        np.testing.assert_allclose(product(v), model.flat().detach() * v, atol=1e-14)
        with torch.no_grad():
            model.b -= 2


def test_a_networks_products_are_those_of_its_whole_hessian(setting):
    _, product, hessian = setting
    for seed in range(3):
        v = vector(product.n, seed)
        np.testing.assert_allclose(product(v), hessian @ v.numpy(), atol=1e-13)
    np.testing.assert_allclose(dense_hessian(product), hessian, atol=1e-13)


def test_the_division_into_batches_does_not_matter(setting):
    model, product, _ = setting
    v = vector(product.n)
    for batch in (1, 7, 30):
        other = HessianVectorProduct(model, mean_loss(model, *examples(), batch=batch))
        np.testing.assert_allclose(other(v), product(v), atol=1e-14)


def test_many_rows_are_many_products(setting):
    _, product, _ = setting
    rows = torch.stack([vector(product.n, seed) for seed in range(3)])
    together = product(rows)
    assert together.shape == rows.shape
    for row, result in zip(rows, together, strict=True):
        np.testing.assert_allclose(result, product(row), atol=1e-15)


def test_a_product_leaves_gradients_alone_and_needs_no_grad_mode(setting):
    model, product, hessian = setting
    v = vector(product.n)
    with torch.no_grad():
        result = product(v)
    assert not result.requires_grad
    np.testing.assert_allclose(result, hessian @ v.numpy(), atol=1e-13)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_frozen_parameters_are_no_variables_and_unused_ones_are_flat():
    model = Flat()
    model.a.requires_grad_(False)
    product = HessianVectorProduct(model, lambda: [(model.a.sum() * model.b) ** 2 / 2])
    expected = torch.zeros(5, 5, dtype=torch.float64)
    expected[0, 0] = model.a.sum() ** 2
    np.testing.assert_allclose(dense_hessian(product), expected, atol=1e-13)


def test_one_batchs_graph_is_alive_at_a_time():
    model = network()
    images, labels = examples()
    alive = []

    def losses():
        for image, label in zip(images, labels, strict=True):
            assert not [1 for reference in alive if reference() is not None]
            logits = model(image[None])
            alive.append(weakref.ref(logits))
            loss = functional.cross_entropy(logits, label[None])
            del logits
            yield loss
            del loss

    product = HessianVectorProduct(model, losses)
    product(vector(product.n))
    assert len(alive) == len(labels)


def test_with_kinks_it_is_the_hessian_of_the_piece():
    """ReLU and max pooling: a small difference of gradients stays within the piece."""
    model = network(nn.ReLU, nn.MaxPool2d)
    images, labels = examples()
    product = HessianVectorProduct(model, mean_loss(model, images, labels))
    v, step = vector(product.n), 1e-6
    point = nn.utils.parameters_to_vector(model.parameters()).detach()
    gradients = []
    for sign in (1, -1):
        nn.utils.vector_to_parameters(point + sign * step * v, model.parameters())
        loss = functional.cross_entropy(model(images), labels)
        gradient = torch.autograd.grad(loss, list(model.parameters()))
        gradients.append(torch.cat([part.reshape(-1) for part in gradient]))
    nn.utils.vector_to_parameters(point, model.parameters())
    np.testing.assert_allclose(product(v), (gradients[0] - gradients[1]) / (2 * step), atol=1e-8)


def test_what_is_no_loss_is_refused(refused):
    model = network()
    images, _ = examples()
    v = vector(sum(parameter.numel() for parameter in model.parameters()))
    refused(lambda: HessianVectorProduct(model, lambda: [model(images)])(v), "scalars", "(30, 3)")
    refused(lambda: HessianVectorProduct(model, lambda: [torch.tensor(1.0)])(v), "requires no gradient")
    refused(lambda: HessianVectorProduct(model, lambda: [model(images).sum()])(v[1:]), "shape", str(len(v)))
    refused(lambda: HessianVectorProduct(nn.Identity(), list), "model", "parameters")
    mixed = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1).double())
    refused(lambda: HessianVectorProduct(mixed, list), "one dtype", "float32", "float64")


# Extreme eigenvalues


def test_extremes_of_a_network_against_the_whole_hessian(setting):
    _, product, hessian = setting
    values, vectors = np.linalg.eigh(hessian)
    assert values[0] < -1e-3  # negative curvature is there
    found = extremes(product, product.n, largest=3, smallest=2, tolerance=1e-9)
    assert found.converged.all()
    assert found.products < product.n
    np.testing.assert_allclose(found.values, values[[0, 1, -3, -2, -1]], atol=1e-12)
    overlaps = np.abs((found.vectors.numpy() * vectors[:, [0, 1, -3, -2, -1]].T).sum(axis=1))
    np.testing.assert_allclose(overlaps, 1, atol=1e-12)


def test_extremes_of_a_network_against_scipy(setting):
    _, product, _ = setting
    operator = scipy.sparse.linalg.LinearOperator(
        (product.n, product.n), matvec=lambda v: product(torch.from_numpy(v.ravel())).numpy(), dtype=float
    )
    theirs = scipy.sparse.linalg.eigsh(operator, k=2, which="BE", v0=np.ones(product.n), return_eigenvectors=False)
    np.testing.assert_allclose(extremes(product, product.n).values, np.sort(theirs), atol=1e-10)


@pytest.mark.filterwarnings(
    "ignore:.torch.jit.script. is deprecated:DeprecationWarning"
)  # torch's forward mode uses it
def test_products_against_curvlinops():
    curvlinops = pytest.importorskip("curvlinops")
    model = network()
    images, labels = examples()
    parameters = list(model.parameters())
    theirs = curvlinops.HessianLinearOperator(model, nn.CrossEntropyLoss(), parameters, [(images, labels)])
    product = HessianVectorProduct(model, mean_loss(model, images, labels))
    v = vector(product.n)
    np.testing.assert_allclose(product(v), (theirs @ v).detach(), atol=1e-12)


CLUSTERED = np.concatenate([[-0.2001, -0.2], np.linspace(-0.01, 0.01, 1200), [1.0, 1.001, 1.002]])
SPREAD = np.linspace(-1, 2, 600) ** 3


@pytest.mark.parametrize("basis", [None, 1], ids=["grown", "restarted"])
@pytest.mark.parametrize("spectrum", [CLUSTERED, SPREAD], ids=["clustered", "spread"])
def test_a_known_spectrum(monkeypatch, spectrum, basis):
    if basis:
        monkeypatch.setattr(lanczos, "_LARGEST_BASIS", basis)  # the least that the wanted pairs need
    diagonal = torch.from_numpy(spectrum)
    found = extremes(lambda v: diagonal * v, len(spectrum), largest=3, smallest=2, tolerance=1e-10)
    assert found.converged.all()
    if basis and spectrum is SPREAD:
        assert found.products > 60  # 30 vectors were held
    np.testing.assert_allclose(found.values, spectrum[[0, 1, -3, -2, -1]], atol=1e-13 * np.abs(spectrum).max())
    unit = np.eye(len(spectrum))[[0, 1, -3, -2, -1]]
    np.testing.assert_allclose(found.vectors, unit, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("tolerance", [0.1, 1e-3, 1e-6])
def test_the_residual_bounds_the_error(dtype, tolerance):
    diagonal = torch.from_numpy(SPREAD).to(dtype)
    true = diagonal.double().numpy()
    found = extremes(lambda v: diagonal * v, len(true), largest=2, smallest=2, tolerance=tolerance, dtype=dtype)
    assert found.vectors.dtype == dtype
    assert found.converged.all()
    errors = np.abs(found.values[:, None] - true).min(axis=1)
    rounding = 16 * torch.finfo(dtype).eps * np.abs(true).max()
    assert (errors <= found.residuals + rounding).all()
    assert (found.residuals <= found.tolerance).all()
    assert found.values[-1] <= true.max() + rounding  # a Rayleigh quotient
    np.testing.assert_allclose(found.vectors.double().norm(dim=1), 1, atol=16 * torch.finfo(dtype).eps)


def test_float32_on_a_network(setting):
    _, _, hessian = setting
    model = network().float()
    product = HessianVectorProduct(model, mean_loss(model, *examples(dtype=torch.float32)))
    assert product.dtype == torch.float32
    found = extremes(product, product.n, tolerance=1e-5, dtype=product.dtype)
    assert found.converged.all()
    np.testing.assert_allclose(found.values, np.linalg.eigvalsh(hessian)[[0, -1]], atol=1e-5)


def test_a_seed_decides_everything(setting):
    _, product, _ = setting
    first, again, other = (extremes(product, product.n, tolerance=1e-9, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.vectors, again.vectors)
    assert np.array_equal(first.values, again.values)
    assert not torch.equal(first.vectors, other.vectors)
    np.testing.assert_allclose(first.vectors, other.vectors, atol=1e-6)  # the sign, too


def test_what_has_not_converged_is_said():
    diagonal = torch.from_numpy(SPREAD)
    found = extremes(lambda v: diagonal * v, len(SPREAD), products=12, tolerance=1e-8)
    assert found.products == 12
    assert not found.converged.any()
    errors = np.abs(found.values[:, None] - SPREAD).min(axis=1)
    assert (errors <= found.residuals).all()


@pytest.mark.parametrize(
    ("diagonal", "largest", "smallest"),
    [([0.0] * 9, 1, 1), ([2.0] + [0.0] * 9, 1, 1), ([-3.0], 1, 0), ([1.0, 2.0, -5.0], 2, 1), ([4.0] * 5, 0, 1)],
    ids=["zero", "rank-one", "one", "all", "identity"],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_invariant_subspaces_end_nothing(diagonal, largest, smallest, seed):
    entries = torch.tensor(diagonal, dtype=torch.float64)
    found = extremes(lambda v: entries * v, len(entries), largest=largest, smallest=smallest, products=20, seed=seed)
    true = np.sort(diagonal)
    np.testing.assert_allclose(found.values, np.r_[true[:smallest], true[len(true) - largest :]], atol=1e-14)
    np.testing.assert_allclose(found.residuals, 0, atol=1e-14)


def test_bad_questions_are_refused(refused):
    diagonal = torch.ones(5, dtype=torch.float64)

    def ask(**options):
        return extremes(lambda v: diagonal * v, 5, **options)

    refused(lambda: ask(largest=0, smallest=0), "largest", "0")
    refused(lambda: ask(largest=4, smallest=2), "n = 5", "4", "2")
    refused(lambda: ask(largest=-1), "negative")
    refused(lambda: ask(products=3), "products", "3")
    refused(lambda: ask(tolerance=0.0), "tolerance", "0")
    refused(lambda: interior(lambda v: diagonal * v, 5, steps=6), "steps", "6")
    for value in (torch.nan, torch.inf):
        with pytest.raises(FloatingPointError, match="not finite"):
            extremes(lambda v, value=value: v * value, 5)


# The inside of a spectrum


def test_interior_gives_what_has_converged_and_only_that(setting):
    _, product, hessian = setting
    values = np.linalg.eigvalsh(hessian)
    found = interior(product, product.n, steps=product.n // 2, tolerance=1e-8)
    assert 2 < len(found.values) < product.n // 2
    assert found.converged.all()
    assert found.products == product.n // 2
    nearest = np.abs(found.values[:, None] - values).argmin(axis=1)
    np.testing.assert_allclose(found.values, values[nearest], atol=1e-12)
    assert {0, product.n - 1} <= set(nearest)  # the ends converge first
    residuals = np.linalg.norm(hessian @ found.vectors.numpy().T - found.vectors.numpy().T * found.values, axis=0)
    np.testing.assert_allclose(residuals, found.residuals, atol=1e-13)


def test_with_as_many_steps_as_dimensions_the_inside_is_complete():
    diagonal = torch.linspace(-1, 1, 80, dtype=torch.float64)
    found = interior(lambda v: diagonal * v, 80, steps=80)
    np.testing.assert_allclose(found.values, diagonal, atol=1e-13)
    np.testing.assert_allclose(found.vectors, np.eye(80), atol=1e-10)


def test_the_exact_spectrum_of_a_network(setting):
    _, product, hessian = setting
    found = exact_spectrum(product)
    np.testing.assert_allclose(found.values, np.linalg.eigvalsh(hessian), atol=1e-13)
    assert found.converged.all()
    rebuilt = found.vectors.T @ torch.diag(torch.from_numpy(found.values)) @ found.vectors
    np.testing.assert_allclose(rebuilt, hessian, atol=1e-12)
    top = found.part([-1])
    np.testing.assert_allclose(top.values, extremes(product, product.n, smallest=0).values, atol=1e-10)


def test_a_dense_hessian_has_its_limit(refused):
    model = nn.Linear(LARGEST_DENSE + 1, 1, bias=False)
    product = HessianVectorProduct(model, lambda: [model.weight.square().sum()])
    refused(lambda: dense_hessian(product), "dense", str(LARGEST_DENSE), str(LARGEST_DENSE + 1))


@needs_cuda
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_on_a_gpu(setting, dtype):
    _, _, hessian = setting
    model = network().to("cuda", dtype)
    images, labels = (tensor.to("cuda") for tensor in examples(dtype=dtype))
    product = HessianVectorProduct(model, mean_loss(model, images, labels))
    accuracy = 1e-5 if dtype == torch.float32 else 1e-10
    values = np.linalg.eigvalsh(hessian)
    options = {"dtype": product.dtype, "device": product.device}
    found = extremes(product, product.n, tolerance=1e-5, **options)
    assert found.vectors.device.type == "cuda"
    np.testing.assert_allclose(found.values, values[[0, -1]], atol=accuracy)
    np.testing.assert_allclose(exact_spectrum(product).values, values, atol=accuracy)
    inside = interior(product, product.n, steps=product.n // 2, tolerance=1e-4, **options)
    assert (np.abs(inside.values[:, None] - values).min(axis=1) <= inside.residuals + accuracy).all()
