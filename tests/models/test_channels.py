from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import fx, nn
from torch.nn import functional as F

from studio.models.channels import find_channels
from studio.models.layer import OK, ChannelGroup, Layer, Share, channel_groups
from studio.models.layers import layer_table
from studio.models.open import open_model

IMAGE = torch.zeros(1, 3, 8, 8)


class Net(nn.Module):
    """Named layers and a function that says how they are joined."""

    def __init__(self, forward: Callable[..., torch.Tensor], **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self._forward = forward

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._forward(self, x)


def table(forward: Callable[..., torch.Tensor], **layers: nn.Module) -> dict[str, Layer]:
    graph = fx.symbolic_trace(Net(forward, **layers)).eval()
    return {layer.name: layer for layer in layer_table(graph, (IMAGE,))}


def conv(inputs: int, outputs: int, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, groups=groups)


def groups(layers: dict[str, Layer]) -> tuple[ChannelGroup, ...]:
    return channel_groups(layers.values())


def test_the_layers_of_a_residual_sum_lose_the_same_channels() -> None:
    found = table(lambda m, x: m.c(F.relu(m.b(y := m.a(x)) + y)), a=conv(3, 8), b=conv(8, 8), c=conv(8, 2))
    assert groups(found) == (ChannelGroup("a", (8,), ("a", "b"), ("b", "c")),)
    assert found["b"].outputs == found["b"].inputs == (Share("a", 0, 8, 1),)


def test_channels_of_the_models_output_stay() -> None:
    found = table(lambda m, x: m.b(m.a(x)), a=conv(3, 8), b=conv(8, 2))
    assert found["a"].methods["channels"] == OK
    assert found["b"].methods["channels"] == "the model's output"
    assert found["b"].outputs == ()


def test_a_depthwise_convolution_passes_channels_on() -> None:
    found = table(lambda m, x: m.c(F.relu(m.b(m.a(x)))), a=conv(3, 8), b=conv(8, 8, 8), c=conv(8, 2))
    assert groups(found) == (ChannelGroup("a", (8,), ("a", "b"), ("b", "c")),)


def test_a_grouped_convolution_keeps_its_inputs_and_outputs_with_a_reason() -> None:
    found = table(lambda m, x: m.c(m.b(m.a(x))), a=conv(3, 8), b=conv(8, 8, 2), c=conv(8, 2))
    assert found["a"].methods["channels"] == "its outputs reach b, a grouped convolution"
    assert found["b"].methods["channels"] == "grouped convolution: its groups must stay of one size"
    assert groups(found) == ()


def test_a_shortcut_padded_with_zero_channels_couples_only_the_channels_it_brings() -> None:
    """Channels 2-5 of the sum are those of `a`; the other four are of `b` alone: two blocks of one group."""
    found = table(
        lambda m, x: m.c(m.b(y := m.a(x)) + F.pad(y, (0, 0, 0, 0, 2, 2))), a=conv(3, 4), b=conv(4, 8), c=conv(8, 2)
    )
    assert groups(found) == (ChannelGroup("a", (4, 4), ("a", "b"), ("b", "c")),)
    assert sorted((share.size, share.times) for share in found["b"].outputs) == [(4, 1), (4, 1)]
    assert len(found["b"].inputs) == 1


def test_padding_and_cutting_pixels_leaves_channels_alone() -> None:
    found = table(lambda m, x: m.b(F.pad(m.a(x), (1, 2, 3, 4))[:, :, ::2, 1:]), a=conv(3, 4), b=conv(4, 2))
    assert groups(found) == (ChannelGroup("a", (4,), ("a",), ("b",)),)


def test_behind_a_flattening_every_channel_is_as_many_inputs_as_it_has_pixels() -> None:
    layers = {"a": conv(3, 4), "b": nn.Linear(4 * 16, 2)}
    found = table(lambda m, x: m.b(F.max_pool2d(m.a(x), 2).flatten(1)), **layers)
    assert found["b"].inputs == (Share("a", 0, 4, 16),)
    channels = find_channels(
        fx.symbolic_trace(Net(lambda m, x: m.b(F.max_pool2d(m.a(x), 2).flatten(1)), **layers)), (IMAGE,)
    )
    assert channels.inputs["b"].tolist() == channels.outputs["a"].repeat(16).tolist()


def test_concatenated_channels_stay_in_groups_of_their_own() -> None:
    found = table(lambda m, x: m.c(torch.cat([m.a(x), x, m.b(x)], 1)), a=conv(3, 4), b=conv(3, 8), c=conv(15, 2))
    assert [group.name for group in groups(found)] == ["a", "b"]
    assert found["c"].inputs == (Share("a", 0, 4, 1), Share("b", 0, 8, 1))


def test_a_gate_and_what_it_multiplies_lose_channels_together() -> None:
    found = table(
        lambda m, x: m.c((y := m.a(x)) * torch.sigmoid(m.b(y.mean((2, 3)))[:, :, None, None])),
        a=conv(3, 4),
        b=nn.Linear(4, 4),
        c=conv(4, 2),
    )
    assert found["a"].methods["channels"] == OK
    assert groups(found)[0].members == ("a", "b")


@pytest.mark.parametrize(
    ("forward", "operator"),
    [
        (lambda m, x: m.b(torch.cat(m.a(x).chunk(2, 1)[::-1], 1)), "chunk"),
        (lambda m, x: m.b(m.a(x)[:, 0:4].repeat(1, 2, 1, 1)), "getitem"),
        (lambda m, x: m.b(m.a(x).reshape(1, 2, 4, 8, 8).transpose(1, 2).flatten(1, 2)), "reshape"),
        (lambda m, x: m.b(F.softmax(m.a(x), 1)), "softmax"),
        (lambda m, x: m.b(m.a(x) * torch.arange(8.0)[:, None, None]), "mul"),
    ],
)
def test_operators_that_channels_cannot_be_followed_through_are_named(
    forward: Callable[..., torch.Tensor], operator: str
) -> None:
    found = table(forward, a=conv(3, 8), b=conv(8, 2))
    assert f"'{operator}'" in found["a"].methods["channels"]
    assert groups(found) == ()


def test_a_layer_that_runs_twice_keeps_its_channels() -> None:
    found = table(lambda m, x: m.c(m.b(m.b(m.a(x)))), a=conv(3, 4), b=conv(4, 4), c=conv(4, 2))
    assert found["b"].methods["channels"] == "the layer's weights are used more than once"
    assert found["a"].methods["channels"] != OK


@pytest.mark.parametrize("writer", ["dynamo.onnx", "plain.onnx", "legacy.onnx", "export.pt2"])
def test_a_residual_network_has_the_same_groups_from_every_file(
    exported: Callable[[str, str], Path], writer: str
) -> None:
    found = open_model(exported("resnet", writer)).info.groups
    assert [(sum(group.blocks), len(group.members)) for group in found] == [(8, 3), (4, 1), (8, 1)]
    assert found[0].blocks == (4, 4)


@pytest.mark.parametrize("writer", ["dynamo.onnx", "export.pt2"])
def test_attention_keeps_its_width_and_the_feed_forward_layer_does_not(
    exported: Callable[[str, str], Path], writer: str
) -> None:
    info = open_model(exported("transformer", writer)).info
    assert [(group.members, group.consumers) for group in info.groups] == [(("f1",), ("f2",))]
    assert all("channels are not followed" in info.layer(f"att.{name}").methods["channels"] for name in "qkv")
