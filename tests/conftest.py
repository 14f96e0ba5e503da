"""What every test may use: the built-in sample, and cores that are not fought over."""

import os

# before anything imports numpy or torch, whose thread pools read it once; child processes inherit it
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import pytest
from torch import fx

from studio.compression.walk import execute
from studio.evaluation import replay
from studio.resources import Sample, samples


@pytest.fixture(scope="session")
def digits() -> Sample:
    """The built-in sample: a residual network for handwritten digits with its test and training data."""
    return samples()["digits"]


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the nodes that replays run."""
    names: list[str] = []

    def noted(interpreter: fx.Interpreter, node: fx.Node, *rest: object) -> object:
        names.append(node.name)
        return execute(interpreter, node, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(replay, "execute", noted)
    return names
