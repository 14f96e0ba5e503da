"""Training in bfloat16: what the numbers lose, and what they must not."""

import numpy as np
import pytest
import torch
from torch import Tensor, fx, nn

from studio.compression.activations import LearnedActivation, RoundedActivation
from studio.compression.compress import compress
from studio.compression.ranges import Levels
from studio.compression.trainable import trainable
from studio.distillation.devices import Arithmetic
from studio.distillation.features import FeatureLoss
from studio.distillation.lessons import Lesson
from studio.distillation.settings import DistillSettings
from studio.distillation.student import Student
from studio.models.layer import ModelInfo, TensorSpec
from studio.models.layers import layer_table
from studio.models.model import Model
from studio.recipe.recipe import Recipe

RATE = 0.01


@pytest.fixture
def images() -> Model:
    """A small network of convolutions."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, stride=2), nn.ReLU(), nn.Flatten()
    ).append(nn.Linear(256, 5))
    graph = fx.symbolic_trace(net).eval()
    specs = [(TensorSpec(name, "float32", shape),) for name, shape in (("x", (None, 3, 9, 9)), ("y", (None, 5)))]
    layers = layer_table(graph, (torch.zeros(2, 3, 9, 9),))
    return Model(graph, ModelInfo("net.onnx", "onnx", "net", *specs, layers, 4053, 16212, 73000))


def lesson() -> Lesson:
    torch.manual_seed(1)
    return Lesson((torch.randn(32, 3, 9, 9),), 3 * torch.randn(32, 5), torch.arange(32) % 5)


def one_step(model: Model, recipe: dict[str, object], precision: str, *, learn_steps: bool) -> tuple[float, Tensor]:
    """The loss of a step, and how all that trains has moved, in a row."""
    small = compress(model, Recipe.model_validate({"studio": 1, **recipe}))
    settings = DistillSettings(optimizer="sgd", momentum=0.0, clip_norm=None)
    arithmetic = Arithmetic(torch.device("cpu"), precision)
    graph = trainable(small, learn_steps=learn_steps)
    student = Student(graph, FeatureLoss((), small, model), settings, arithmetic)
    before = [one.detach().clone() for one in student.graph.parameters()]
    loss = student.step(lesson(), RATE)
    assert {one.dtype for one in student.graph.parameters()} == {torch.float32}
    moved = [now.detach() - then for now, then in zip(student.graph.parameters(), before, strict=True)]
    return loss, torch.cat([one.flatten() for one in moved])


@pytest.mark.parametrize(
    ("recipe", "learn_steps"),
    [
        ({}, False),
        ({"default": {"prune": {"kind": "unstructured", "ratio": 0.5}}}, False),
        ({"default": {"quantize": {"weight_bits": 4, "granularity": "channel"}}}, True),
    ],
    ids=["plain", "sparse", "steps learnt"],
)
def test_a_step_in_bfloat16_is_that_in_float32_but_for_rounding(
    images: Model, recipe: dict[str, object], learn_steps: bool
) -> None:
    exact, wanted = one_step(images, recipe, "float32", learn_steps=learn_steps)
    loss, moved = one_step(images, recipe, "bfloat16", learn_steps=learn_steps)

    assert loss != exact
    assert loss == pytest.approx(exact, rel=0.01)
    assert float((moved - wanted).norm() / wanted.norm()) < 0.08


@pytest.mark.parametrize("kind", [RoundedActivation, lambda levels: LearnedActivation(RoundedActivation(levels))])
def test_activations_are_rounded_in_float32_whatever_the_layers_multiply_in(kind: type[RoundedActivation]) -> None:
    levels = Levels(0.0371, 19)
    x = torch.linspace(-1, 9, 500).to(torch.bfloat16).requires_grad_()

    with torch.autocast("cpu", torch.bfloat16):
        rounded = kind(levels)(x)

    assert rounded.dtype == torch.float32
    scale = np.float32(0.0371)
    wanted = (np.clip(np.rint(x.detach().float().numpy() / scale) + 19, 0, 255) - 19) * scale
    assert np.abs(rounded.detach().numpy() - wanted).max() <= 1e-6
    rounded.sum().backward()
    assert x.grad is not None
    inside, outside = (x.detach() > -0.66) & (x.detach() < 8.7), (x.detach() < -0.74) | (x.detach() > 8.8)
    assert torch.equal(x.grad[inside].float(), torch.ones(int(inside.sum())))
    assert torch.equal(x.grad[outside].float(), torch.zeros(int(outside.sum())))
