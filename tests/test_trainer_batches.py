"""Batches: keyed by seed, worker and clock; each epoch sees everything once; patches against loops."""

import contextlib
from collections import Counter

import numpy as np
import pytest
import torch
from scipy import stats

from gpu_trainer import streams
from gpu_trainer.batches import Batches
from gpu_trainer.data import Data, load
from gpu_trainer.images import ImagesInMemory

RANDOM = np.random.default_rng(0)


# Keys


def test_an_address_decides_and_its_parts_do_not_run_together():
    addresses = [
        (s, purpose, w, t) for s in (0, 1, -1) for purpose in ("a", "b") for w in range(20) for t in range(200)
    ]
    addresses += [(0, "a"), (0, "a", 1), (0, "a, 1"), (0, "a', 1"), (1, "a", 11), (11, "a", 1), (1, "a", 1, 1, 1)]
    keys = [streams.key(*address) for address in addresses]
    assert len(set(keys)) == len(keys)
    assert all(0 <= key < 2**63 for key in keys)
    assert streams.key(np.int64(3), "a", np.int32(4)) == streams.key(3, "a", 4)


def test_keys_are_the_same_in_every_version():
    from hashlib import blake2b

    digest = blake2b(b"(7, 'order', 2, 3)", digest_size=8).digest()
    assert streams.key(7, "order", 2, 3) == int.from_bytes(digest, "big") // 2


def test_a_key_of_something_else_than_whole_numbers_is_refused(refused):
    refused(lambda: streams.key(0.5, "a"), "float")
    refused(lambda: streams.key(0, "a", "b"), "str")


def test_drawing_is_keyed_and_leaves_torchs_numbers_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    draws = []
    for worker in (0, 1, 0):
        with streams.drawing("cpu", 5, "dropout", worker, 7):
            draws.append(torch.rand(100))
    assert torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0], draws[1])
    with contextlib.suppress(KeyError), streams.drawing("cpu", 5, "dropout"):
        torch.rand(3)
        raise KeyError
    assert torch.equal(torch.rand(3), expected)


# Batches


def numbered(n, side=1, crop=None, flip=False, test=10):
    """Images whose pixels count from 0 (n = 1: row * side + column), with the number of the image as label."""
    pixels = (torch.arange(n * side * side) % 256).to(torch.uint8).reshape(n, 1, side, side)
    return Data(
        "numbered",
        ImagesInMemory(pixels, torch.arange(n)),
        ImagesInMemory(pixels[:test], torch.arange(test)),
        n,
        crop,
        flip,
    )


def seen(batches, worker, epoch):
    clocks = range(epoch * batches.per_epoch, (epoch + 1) * batches.per_epoch)
    return torch.cat([batches.train(worker, clock)[1] for clock in clocks]).tolist()


def test_an_epoch_sees_every_example_once_in_a_new_order():
    batches = Batches(numbered(60), size=12, seed=1, workers=3)
    orders = [seen(batches, worker, epoch) for worker in range(3) for epoch in range(3)]
    assert all(sorted(order) == list(range(60)) for order in orders)
    assert len(set(map(tuple, orders))) == 9


def test_what_does_not_fill_a_batch_is_dropped_and_differs_by_epoch():
    batches = Batches(numbered(50), size=12)
    assert batches.per_epoch == 4
    orders = [seen(batches, 0, epoch) for epoch in range(20)]
    assert all(len(set(order)) == 48 for order in orders)
    assert len({frozenset(order) for order in orders}) > 1


def test_an_image_stays_with_its_label():
    data = load("digits")
    images, labels = Batches(data, size=50, seed=2).train(3, 4)
    known = {
        image.numpy().tobytes(): label
        for image, label in zip(data.train.images, data.train.labels.tolist(), strict=True)
    }
    assert [known[image.numpy().tobytes()] for image in (images * 16).to(torch.uint8)] == labels.tolist()


@pytest.mark.parametrize("workers", [1, 3, 4])
def test_shards_are_a_partition_that_stays(workers):
    n = 50
    batches = Batches(numbered(n), size=2, seed=4, shard=True, workers=workers)
    assert batches.per_epoch == n // workers // 2
    first = [set().union(*(seen(batches, worker, epoch) for epoch in range(30))) for worker in range(workers)]
    assert sorted(number for shard in first for number in shard) == list(range(n))
    assert {len(shard) for shard in first} <= {n // workers, n // workers + 1}
    other = Batches(numbered(n), size=2, seed=5, shard=True, workers=workers)
    assert workers == 1 or set(seen(other, 0, 0)) - first[0]


@pytest.mark.parametrize("shard", [False, True])
def test_one_process_and_many_see_the_same_and_a_run_resumes_anywhere(shard):
    data = numbered(64, side=6, crop=4, flip=True)
    together = Batches(data, size=5, seed=9, shard=shard, workers=3)
    forward = {(worker, clock): together.train(worker, clock) for clock in range(17) for worker in range(3)}
    for worker in (2, 0, 1):
        alone = Batches(data, size=5, seed=9, shard=shard, workers=3)
        for clock in (16, 3, 11, 3, 0):
            for ours, theirs in zip(alone.train(worker, clock), forward[worker, clock], strict=True):
                assert torch.equal(ours, theirs)


def test_seeds_and_workers_differ():
    data = numbered(64)
    first = {
        (seed, worker): tuple(seen(Batches(data, 64, seed), worker, 0)) for seed in range(3) for worker in range(3)
    }
    assert len(set(first.values())) == 9


def test_patches_are_those_of_loops():
    n, channels, side, crop = 30, 3, 9, 5
    images = torch.from_numpy(RANDOM.integers(0, 256, (n, channels, side, side), dtype=np.uint8))
    index = torch.from_numpy(RANDOM.integers(0, n, 200))
    positions, flips = torch.from_numpy(RANDOM.random((200, 2))), torch.from_numpy(RANDOM.random(200) < 0.5)
    patches = ImagesInMemory(images, torch.zeros(n)).patches(index, crop, positions, flips)
    assert patches.dtype == torch.uint8
    for b in range(200):
        top, left = (int(np.floor(u * (side - crop + 1))) for u in positions[b].tolist())
        for c in range(channels):
            for i in range(crop):
                row = [images[index[b], c, top + i, left + j].item() for j in range(crop)]
                assert patches[b, c, i].tolist() == (row[::-1] if flips[b] else row)


def corners_and_flips(batches, clocks, side, crop):
    """Row, column and mirroring of each patch of an image whose pixels are numbered."""
    for clock in range(clocks):
        patch = (batches.train(0, clock)[0][0, 0] * 255).round().long()
        flipped = bool(patch[0, 0] > patch[0, 1])
        plain = patch.flip(-1) if flipped else patch
        row, column = divmod(plain[0, 0].item(), side)
        assert torch.equal(plain, plain[0, 0] + torch.arange(crop)[:, None] * side + torch.arange(crop))
        assert column + crop <= side
        yield row, column, flipped


def test_random_patches_are_uniform_over_corners_and_mirrors():
    batches = Batches(numbered(1, side=8, crop=6, flip=True, test=1), size=1, seed=11)
    counts = Counter(corners_and_flips(batches, 3600, side=8, crop=6))
    assert len(counts) == 3 * 3 * 2
    assert stats.chisquare(list(counts.values())).pvalue > 1e-3


def test_patches_of_one_batch_are_independent():
    data = numbered(1, side=8, crop=6, flip=True, test=1)
    same = ImagesInMemory(data.train.images.expand(100, 1, 8, 8), torch.arange(100))
    images, _ = Batches(Data("same", same, same, 100, crop=6, flip=True), size=100).train(0, 0)
    assert len({image.numpy().tobytes() for image in images}) == 18


def test_without_crop_and_flip_images_are_whole():
    images, labels = Batches(numbered(20, side=3), size=20).train(0, 0)
    pixels = numbered(20, side=3).train.images
    assert torch.equal((images * 255).round().to(torch.uint8), pixels[labels])


@pytest.mark.parametrize(("side", "crop", "corner"), [(32, 28, 2), (8, 8, 0), (9, 4, 3), (10, 9, 1)])
def test_the_center_is_measured(side, crop, corner):
    data = numbered(5, side=side, crop=crop, flip=True, test=5)
    ((images, labels),) = Batches(data, size=5).test(10)
    center = data.test.images[:, :, corner : corner + crop, corner : corner + crop]
    assert torch.equal((images * 255).round().to(torch.uint8), center)
    assert labels.tolist() == list(range(5))


@pytest.mark.parametrize("parts", [1, 2, 3, 7, 12])
@pytest.mark.parametrize("size", [1, 4, 100])
def test_measurements_see_each_image_once_in_order(parts, size):
    batches = Batches(numbered(40), size=4)
    for measured, n in ((batches.test, 10), (batches.train_all, 40)):
        labels = [labels for part in range(parts) for _, labels in measured(size, part, parts)]
        assert all(1 <= len(each) <= size for each in labels)
        assert torch.cat(labels).tolist() == list(range(n))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pixels_have_the_wanted_type(dtype):
    images, labels = Batches(numbered(256), size=256, dtype=dtype).train(0, 0)
    assert images.dtype == dtype
    assert torch.equal(images.flatten(), labels.to(dtype) / 255)
    assert labels.dtype == torch.int64


def test_batches_that_cannot_be_filled_are_refused(refused):
    refused(lambda: Batches(numbered(50), size=51), "from 1 to 50", "got 51")
    refused(lambda: Batches(numbered(50), size=0), "batch size", "got 0")
    refused(lambda: Batches(numbered(50), size=13, shard=True, workers=4), "from 1 to 12", "4 workers", "got 13")
    refused(lambda: Batches(numbered(50), size=1, workers=0), "workers", "got 0")
    refused(lambda: Batches(numbered(50), size=1, shard=True, workers=2).train(2, 0), "worker", "got 2")
    assert len(Batches(numbered(50), size=12, shard=True, workers=4).train(3, 0)[1]) == 12


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_sees_what_the_cpu_sees():
    data = numbered(64, side=6, crop=4, flip=True)
    here, there = (Batches(data, size=8, seed=1, device=device) for device in ("cpu", "cuda"))
    for clock in range(20):
        for ours, theirs in zip(here.train(0, clock), there.train(0, clock), strict=True):
            assert theirs.is_cuda
            assert torch.equal(ours, theirs.cpu())
    draws = []
    torch.cuda.manual_seed(1)
    expected = torch.rand(3, device="cuda")
    torch.cuda.manual_seed(1)
    for clock in (0, 1, 0):
        with streams.drawing("cuda", 0, "dropout", clock):
            draws.append(torch.rand(9, device="cuda"))
    assert torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0], draws[1])
    assert torch.equal(torch.rand(3, device="cuda"), expected)
