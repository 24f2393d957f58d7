"""The trainer's data: files as they are published, folders of images, and what is refused."""

import gzip
import io
import pickle
import struct
import tarfile
from collections import Counter

import numpy as np
import pytest
import torch

from gpu_trainer import published
from gpu_trainer.ahead import Ahead
from gpu_trainer.batches import Batches
from gpu_trainer.data import FASHION_MNIST, Data, load
from gpu_trainer.images import ImagesInMemory

RANDOM = np.random.default_rng(0)


def not_found(call, *words):
    """The call raises FileNotFoundError with one sentence that contains the words."""
    with pytest.raises(FileNotFoundError) as caught:
        call()
    sentence = str(caught.value)
    assert "\n" not in sentence
    for word in words:
        assert str(word) in sentence


# Digits


def test_digits_are_split_once_and_for_all():
    data, again = load("digits"), load("digits")
    assert (len(data.train), len(data.test), data.side, data.channels, data.classes) == (1437, 360, 8, 1, 10)
    assert torch.equal(data.train.images, again.train.images)
    assert torch.equal(data.test.labels, again.test.labels)


def test_the_split_has_every_digit_once_and_each_class_in_proportion():
    from sklearn.datasets import load_digits

    data = load("digits")
    ours = Counter()
    for half in (data.train, data.test):
        ours.update(
            (image.numpy().tobytes(), int(label)) for image, label in zip(half.images, half.labels, strict=True)
        )
    source = load_digits()
    assert ours == Counter(
        (i.astype(np.uint8).tobytes(), int(k)) for i, k in zip(source.images, source.target, strict=True)
    )
    for k in range(10):
        tested, all_of_it = (data.test.labels == k).sum().item(), (source.target == k).sum()
        assert abs(tested - all_of_it / 5) < 1


def test_pixels_lie_between_0_and_1():
    images, _ = next(Batches(load("digits"), size=1).train_all(2000))
    assert (images.min(), images.max()) == (0, 1)


# Fashion-MNIST


def write_idx(path, array):
    content = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_fashion(directory, suffix="", train=20, test=7):
    written = {}
    for part, count in (("train", train), ("t10k", test)):
        written[part] = RANDOM.integers(0, 256, (count, 28, 28)), RANDOM.integers(0, 10, count)
        write_idx(directory / f"{part}-images-idx3-ubyte{suffix}", written[part][0])
        write_idx(directory / f"{part}-labels-idx1-ubyte{suffix}", written[part][1])
    return written


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_fashion_mnist_is_read_as_it_was_written(tmp_path, suffix):
    written = write_fashion(tmp_path, suffix)
    data = load("fashion-mnist", tmp_path)
    for half, part in ((data.train, "train"), (data.test, "t10k")):
        assert np.array_equal(half.images[:, 0].numpy(), written[part][0])
        assert np.array_equal(half.labels.numpy(), written[part][1])
        assert half.images.dtype == torch.uint8
        assert half.labels.dtype == torch.int64
    assert (data.channels, data.side, data.classes, data.crop, data.flip) == (1, 28, 10, None, False)


def test_a_missing_idx_file_is_named_with_where_it_can_be_had(tmp_path):
    not_found(lambda: load("fashion-mnist", tmp_path), "train-images-idx3-ubyte", tmp_path, "dataset-fashion-mnist")
    write_fashion(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    not_found(lambda: load("fashion-mnist", str(tmp_path)), "t10k-labels-idx1-ubyte", tmp_path)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("kept", [0, 1, 3, 4, 9, 15, 16, 100, -9, -8, -1])
def test_a_truncated_idx_file_is_refused(tmp_path, refused, suffix, kept):
    write_fashion(tmp_path, suffix)
    path = tmp_path / f"train-images-idx3-ubyte{suffix}"
    path.write_bytes(path.read_bytes()[:kept])
    refused(lambda: load("fashion-mnist", tmp_path), str(path))


def test_foreign_idx_files_are_refused(tmp_path, refused):
    write_fashion(tmp_path)
    images, labels = tmp_path / "train-images-idx3-ubyte", tmp_path / "train-labels-idx1-ubyte"
    good = images.read_bytes()
    images.write_bytes(labels.read_bytes())
    refused(lambda: load("fashion-mnist", tmp_path), str(images), "3 dimensions")
    images.write_bytes(b"\x00\x00\x0d" + good[3:])  # floats
    refused(lambda: load("fashion-mnist", tmp_path), str(images), "unsigned bytes")
    write_idx(images, np.zeros((20, 8, 8)))
    refused(lambda: load("fashion-mnist", tmp_path), str(images), "28 x 28", "8 x 8")
    write_idx(images, np.zeros((19, 28, 28)))
    refused(lambda: load("fashion-mnist", tmp_path), str(labels), "19 images")
    write_idx(images, np.zeros((20, 28, 28)))
    write_idx(labels, np.full(20, 10))
    refused(lambda: load("fashion-mnist", tmp_path), str(labels), "0 to 9")
    write_idx(images, np.zeros((0, 28, 28)))
    write_idx(labels, np.zeros(0))
    refused(lambda: load("fashion-mnist", tmp_path), str(labels), "at least one")
    images_gz = tmp_path / "train-images-idx3-ubyte.gz"
    images.unlink()
    images_gz.write_bytes(good)
    refused(lambda: load("fashion-mnist", tmp_path), str(images_gz), "damaged")


@pytest.mark.skipif(not FASHION_MNIST.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_the_real_fashion_mnist():
    data = load("fashion-mnist")
    for half, each in ((data.train, 6000), (data.test, 1000)):
        assert half.labels.bincount().tolist() == [each] * 10
        assert half.images.shape == (10 * each, 1, 28, 28)
    assert data.train.images.max() == 255


# CIFAR-10


class Python2(pickle._Pickler):
    """Writes byte strings as Python 2 did, which the published files were pickled with."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_bytes(self, value):
        short = len(value) < 256
        self.write((b"U" + struct.pack("<B", len(value)) if short else b"T" + struct.pack("<i", len(value))) + value)
        self.memoize(value)

    dispatch[bytes] = save_bytes


def python2(value):
    file = io.BytesIO()
    Python2(file, protocol=2).dump(value)
    return file.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def python3(value):
    return pickle.dumps(value, protocol=4)


def python_batch(images, labels, dumps=python2):
    rows = images.reshape(len(images), -1).astype(np.uint8)
    return dumps(
        {b"batch_label": b"training batch 1 of 5", b"labels": labels.tolist(), b"data": rows, b"filenames": [b"a"]}
    )


def binary_batch(images, labels):
    return b"".join(bytes([k]) + image.astype(np.uint8).tobytes() for image, k in zip(images, labels, strict=True))


NAMES = [f"data_batch_{n}" for n in range(1, 6)] + ["test_batch"]


def cifar(form, suffix, count=4):
    """The six files' contents and what they hold."""
    held = {name: (RANDOM.integers(0, 256, (count, 3, 32, 32)), RANDOM.integers(0, 10, count)) for name in NAMES}
    return {name + suffix: form(*held[name]) for name in NAMES}, held


def write_archive(path, folder, files):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in {"readme.html": b"<html>", **files}.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def write_files(directory, files):
    directory.mkdir(exist_ok=True)
    for name, content in files.items():
        (directory / name).write_bytes(content)


FORMS = {
    "python": (python_batch, "", "cifar-10-batches-py", "cifar-10-python.tar.gz"),
    "python 3": (lambda *held: python_batch(*held, dumps=python3), "", "cifar-10-batches-py", "cifar-10-python.tar.gz"),
    "binary": (binary_batch, ".bin", "cifar-10-batches-bin", "cifar-10-binary.tar.gz"),
}


@pytest.mark.parametrize("place", ["files", "folder", "archive", "archive itself", "renamed archive"])
@pytest.mark.parametrize("form", FORMS)
def test_cifar10_is_read_as_it_was_written(tmp_path, form, place):
    write, suffix, folder, archive = FORMS[form]
    files, held = cifar(write, suffix)
    path = tmp_path
    if place == "files":
        write_files(tmp_path, files)
    elif place == "folder":
        write_files(tmp_path / folder, files)
    else:
        name = "mine.tgz" if place == "renamed archive" else archive
        write_archive(tmp_path / name, folder, files)
        path = tmp_path if place == "archive" else tmp_path / name
    data = load("cifar10", path)
    assert np.array_equal(data.train.images.numpy(), np.concatenate([held[name][0] for name in NAMES[:5]]))
    assert np.array_equal(data.train.labels.numpy(), np.concatenate([held[name][1] for name in NAMES[:5]]))
    assert np.array_equal(data.test.images.numpy(), held["test_batch"][0])
    assert np.array_equal(data.test.labels.numpy(), held["test_batch"][1])
    assert (data.channels, data.side, data.classes, data.crop, data.flip) == (3, 28, 10, 28, True)


def test_the_array_of_a_pickle_is_numpys(tmp_path):
    for array in (
        np.arange(12, dtype=np.uint8).reshape(3, 4),
        np.asfortranarray(np.arange(12, dtype=np.uint8).reshape(3, 4)),
    ):
        ours = published._Unpickler(io.BytesIO(python2(array)), encoding="bytes").load().array()
        assert np.array_equal(ours, array)


def test_missing_cifar_files_are_named(tmp_path):
    not_found(lambda: load("cifar10", tmp_path), "data_batch_1", tmp_path, "cifar-10-python.tar.gz", "cs.toronto.edu")
    not_found(lambda: load("cifar10", tmp_path / "nowhere"), tmp_path / "nowhere")
    files, _ = cifar(binary_batch, ".bin")
    del files["data_batch_3.bin"], files["test_batch.bin"]
    write_files(tmp_path, files)
    not_found(lambda: load("cifar10", tmp_path), "data_batch_3.bin, test_batch.bin", tmp_path)
    write_archive(tmp_path / "other.tar.gz", "other", {})
    not_found(lambda: load("cifar10", tmp_path / "other.tar.gz"), "data_batch_1")


@pytest.mark.parametrize(("form", "kept"), [(f, k) for f in FORMS for k in (0, 1, 10, 500, 3073, -3073, -20, -1)])
def test_a_truncated_cifar_file_is_refused(tmp_path, refused, form, kept):
    write, suffix, *_ = FORMS[form]
    files, _ = cifar(write, suffix)
    write_files(tmp_path, files)
    path = tmp_path / f"data_batch_2{suffix}"
    path.write_bytes(path.read_bytes()[:kept])
    refused(lambda: load("cifar10", tmp_path), str(tmp_path), "truncated")


@pytest.mark.parametrize("part", [0.0, 0.001, 0.3, 0.9, 0.9999])
def test_a_truncated_archive_is_refused(tmp_path, refused, part):
    write_archive(tmp_path / "cifar-10-binary.tar.gz", "cifar-10-batches-bin", cifar(binary_batch, ".bin")[0])
    content = (tmp_path / "cifar-10-binary.tar.gz").read_bytes()
    path = tmp_path / "part.tar.gz"
    path.write_bytes(content[: int(part * len(content))])
    refused(lambda: load("cifar10", path), str(path), "truncated")


@pytest.mark.parametrize("part", [0.2, 0.7, 0.9])
def test_a_bit_that_flipped_in_an_archive_is_found(tmp_path, refused, part):
    path = tmp_path / "cifar-10-binary.tar.gz"
    write_archive(path, "cifar-10-batches-bin", cifar(binary_batch, ".bin")[0])
    content = bytearray(path.read_bytes())
    content[int(part * len(content))] ^= 4
    path.write_bytes(content)
    refused(lambda: load("cifar10", path), str(path), "damaged")


def test_foreign_cifar_files_are_refused(tmp_path, refused):
    files, held = cifar(python_batch, "")
    images, labels = held["data_batch_1"]
    foreign = {
        "no dictionary": python2([1, 2]),
        "no labels": python2({b"fine_labels": labels.tolist(), b"data": images.reshape(4, -1).astype(np.uint8)}),
        "an array of floats": python2({b"labels": labels.tolist(), b"data": images.reshape(4, -1).astype(float)}),
        "an array of objects": python2({b"labels": labels.tolist(), b"data": np.array([[b"a"]], dtype=object)}),
        "a list for an array": python2({b"labels": labels.tolist(), b"data": [1, 2, 3]}),
        "too few labels": python_batch(images, labels[:3]),
        "a label of 10": python_batch(images, np.array([0, 1, 10, 2])),
        "a label of a half": python_batch(images, np.array([0, 1, 0.5, 2])),
        "a text": b"<html>not found</html>",
    }
    for content in foreign.values():
        write_files(tmp_path, files | {"data_batch_1": content})
        refused(lambda: load("cifar10", tmp_path), str(tmp_path / "data_batch_1"))


class Calls:
    """Pickled, it calls a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def _global(module, name):
    return (
        pickle.PROTO
        + b"\x04"
        + b"".join(b"\x8c" + bytes([len(t)]) + t for t in (module, name))
        + pickle.STACK_GLOBAL
        + b"."
    )


def test_no_pickle_runs_code(tmp_path, refused):
    import os

    marker = tmp_path / "marker"
    files, held = cifar(python_batch, "")
    images, labels = held["data_batch_1"]
    batch = {b"labels": labels.tolist(), b"data": images.reshape(4, -1).astype(np.uint8)}
    write_once = f"open({str(marker)!r}, 'w')"
    evil = {
        "posix.system": python3({**batch, b"x": Calls(os.system, f"touch {marker}")}),
        "builtins.eval": python3({**batch, b"labels": Calls(eval, write_once)}),
        "builtins.exec": python3(Calls(exec, write_once)),
        "io.open": python3({**batch, b"data": Calls(open, str(marker), "w")}),
        "numpy.save": python3({**batch, b"x": Calls(np.save, str(marker), 1)}),
        "_codecs.encode": pickle.dumps(batch, protocol=2),
        "numpy.ndarray.tofile": _global(b"numpy", b"ndarray.tofile"),
        "numpy.dtype\\n": _global(b"numpy", b"dtype\n"),
    }
    for asked, content in evil.items():
        write_files(tmp_path, files | {"data_batch_1": content})
        refused(lambda: load("cifar10", tmp_path), str(tmp_path / "data_batch_1"), asked)
        assert not marker.exists()


def test_a_pickle_cannot_change_what_stands_in_for_arrays():
    state = b"N}\x8c\x05array\x8c\x04evils\x86"  # (None, {"array": "evil"}): attributes to set
    content = _global(b"numpy", b"ndarray")[:-1] + state + pickle.BUILD + b"."
    with pytest.raises(TypeError):
        published._Unpickler(io.BytesIO(content)).load()
    assert callable(published._Recorded.array)


# Folders of images


def write_images(root, sizes=((300, 256), (256, 400)), classes=("ant", "bee"), kind="png"):
    """Images of random pixels; returns them by path."""
    from PIL import Image

    written = {}
    for part in ("train", "val"):
        for name in classes:
            (root / part / name).mkdir(parents=True)
            for n, (height, width) in enumerate(sizes):
                path = root / part / name / f"{n}.{kind}"
                written[path] = RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8)
                Image.fromarray(written[path]).save(path)
    return written


def test_image_folders_have_their_labels_and_exact_center_patches(tmp_path):
    written = write_images(tmp_path)
    (tmp_path / "train" / "bee" / "notes.txt").write_text("not an image")
    (tmp_path / "train" / ".hidden").mkdir()
    data = load("imagefolder", tmp_path)
    assert (len(data.train), data.channels, data.side, data.classes, data.crop, data.flip) == (4, 3, 221, 2, 221, True)
    ((images, labels),) = Batches(data, size=4).train_all(10)
    assert labels.tolist() == [0, 0, 1, 1]
    for image, path in zip(images, sorted(path for path in written if "train" in path.parts), strict=True):
        pixels = written[path]
        top, left = ((length - 221 + 1) // 2 for length in pixels.shape[:2])
        expected = pixels[top : top + 221, left : left + 221].transpose(2, 0, 1)
        assert np.array_equal((image * 255).round().numpy(), expected)


def test_random_patches_of_files_are_those_of_the_same_images_in_memory(tmp_path):
    write_images(tmp_path, sizes=((256, 256),) * 3)
    folder = load("imagefolder", tmp_path)
    everything = folder.train.patches(torch.arange(6), 256, torch.zeros(6, 2, dtype=torch.float64))
    memory = Data("memory", ImagesInMemory(everything, folder.train.labels), folder.test, 2, crop=221, flip=True)
    for clock in range(4):
        of_files, in_memory = (Batches(data, size=3, seed=5).train(1, clock) for data in (folder, memory))
        assert torch.equal(of_files[0], in_memory[0])
        assert torch.equal(of_files[1], in_memory[1])


def test_batches_that_are_loaded_ahead_are_the_same(tmp_path):
    """Also those of several workers, and of one that begins somewhere else than where it left off."""
    write_images(tmp_path, sizes=((256, 256),) * 3)
    batches = Batches(load("imagefolder", tmp_path), size=3, seed=5)
    ahead = Ahead(batches)
    for worker, clock in [(0, 0), (1, 0), (0, 1), (0, 2), (1, 1), (1, 5), (1, 6)]:
        for one, other in zip(ahead.train(worker, clock), batches.train(worker, clock), strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("size", [(100, 333), (700, 512), (50, 50)])
def test_the_shorter_side_is_resized_to_256(tmp_path, size):
    from PIL import Image

    height, width = size
    rows, columns = np.mgrid[:height, :width] + 0.5
    pixels = np.stack((255 * rows / height, 255 * columns / width, 0 * rows), axis=-1).astype(np.uint8)
    for part in ("train", "val"):
        (tmp_path / part / "one").mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / part / "one" / "a.JPEG", quality=95)
    ((images, _),) = Batches(load("imagefolder", tmp_path), size=1).test(1)
    scale = 256 / min(size)
    for channel, length in enumerate((height, width)):
        share = 221 / (scale * length)  # of the image, in this direction, that the patch shows
        values = images[0, channel].mean(1 - channel).numpy()
        expected = 0.5 + share * (np.arange(221) + 0.5 - 110.5) / 221
        assert np.abs(values - expected).max() < 5 / 255 + share / 221


def test_gray_images_become_rgb(tmp_path):
    from PIL import Image

    for part in ("train", "val"):
        (tmp_path / part / "one").mkdir(parents=True)
        Image.fromarray(np.full((256, 256), 51, dtype=np.uint8)).save(tmp_path / part / "one" / "a.png")
    ((images, _),) = Batches(load("imagefolder", tmp_path), size=1, dtype=torch.float64).test(1)
    assert torch.equal(images, torch.full((1, 3, 221, 221), 51 / 255, dtype=torch.float64))


def test_what_is_wrong_with_image_folders(tmp_path, refused):
    not_found(lambda: load("imagefolder", tmp_path), tmp_path / "train")
    written = write_images(tmp_path)
    (tmp_path / "val" / "cat").mkdir()
    refused(lambda: load("imagefolder", tmp_path), "same classes", "'cat'")
    (tmp_path / "train" / "cat").mkdir()
    not_found(lambda: load("imagefolder", tmp_path), tmp_path / "train" / "cat", ".jpeg")
    for part in ("train", "val"):
        (tmp_path / part / "cat").rmdir()
    path = next(path for path in written if "val" in path.parts)
    path.write_bytes(path.read_bytes()[:1000])
    batches = Batches(load("imagefolder", tmp_path), size=1)
    refused(lambda: list(batches.test(4)), str(path), "cannot be read")
    path.write_text("not an image")
    refused(lambda: list(batches.test(4)), str(path), "cannot be read")
    (tmp_path / "empty" / "train").mkdir(parents=True)
    not_found(lambda: load("imagefolder", tmp_path / "empty"), tmp_path / "empty" / "train")


# Names and directories


def test_unknown_names_and_directories_are_refused(tmp_path, refused):
    refused(lambda: load("mnist"), "'mnist'", "digits, fashion-mnist, cifar10, imagefolder")
    refused(lambda: load("digits", tmp_path), "no directory", str(tmp_path))
    for name in ("cifar10", "imagefolder"):
        refused(lambda name=name: load(name), name, "needs a directory")
