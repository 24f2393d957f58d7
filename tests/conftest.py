"""What all tests share: one BLAS thread per process, reproducible hypothesis runs, and a look at error messages."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small matrices: the threads of two processes only contend
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import pytest

hypothesis.settings.register_profile(
    "easgd", derandomize=True, database=None, deadline=None, max_examples=60, print_blob=False
)
hypothesis.settings.load_profile("easgd")


@pytest.fixture
def refused():
    """`refused(call, *words)`: the call raises ValueError or TypeError with one sentence that contains the words."""

    def check(call, *words):
        with pytest.raises((ValueError, TypeError)) as caught:
            call()
        sentence = str(caught.value)
        assert "\n" not in sentence
        for word in words:
            assert word in sentence, f"{word!r} is not in {sentence!r}"

    return check
