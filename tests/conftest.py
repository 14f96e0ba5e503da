"""What every test may use: the built-in sample, and cores that are not fought over."""

import os

# before anything imports numpy or torch, whose thread pools read it once; child processes inherit it
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import pytest

from studio.resources import Sample, samples


@pytest.fixture(scope="session")
def digits() -> Sample:
    """The built-in sample: a residual network for handwritten digits with its test and training data."""
    return samples()["digits"]
