"""New weights: signals as large behind every layer, and the same weights for the same seed."""

import torch
from torch import Tensor, fx, nn

from studio.distillation.new_weights import draw


class Deep(nn.Module):
    """Twelve residual blocks without norms, a layer that runs twice, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.blocks = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(12))
        self.twice = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x.relu())
        return self.head(self.twice(self.twice(x)).mean((2, 3)))


def given_by_layers(graph: nn.Module, x: Tensor) -> dict[str, list[float]]:
    """The standard deviations of what each layer gives, in the order in which it runs."""
    seen: dict[str, list[float]] = {}
    hooks = [
        module.register_forward_hook(lambda _m, _i, output, name=name: seen.setdefault(name, []).append(output.std()))
        for name, module in graph.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    graph(x)
    for hook in hooks:
        hook.remove()
    return {name: [value.item() for value in values] for name, values in seen.items()}


def test_behind_every_layer_the_signal_is_as_large_however_many_blocks_add_to_it():
    graph = fx.symbolic_trace(Deep())
    x = torch.randn(16, 3, 6, 6, generator=torch.Generator().manual_seed(1))

    draw(graph, 0, (x,))

    with torch.no_grad():
        given = given_by_layers(graph, x)
    assert len(given) == 15
    assert {name: round(values[0], 4) for name, values in given.items()} == dict.fromkeys(given, 1.0)


def test_the_seed_alone_fixes_the_weights():
    def drawn(seed: int) -> Tensor:
        graph = fx.symbolic_trace(Deep())
        draw(graph, seed, (torch.ones(2, 3, 6, 6) * torch.arange(6),))
        return graph.get_submodule("head").weight

    assert torch.equal(drawn(3), drawn(3))
    assert not torch.equal(drawn(3), drawn(4))


def test_a_layer_that_is_given_nothing_keeps_finite_weights():
    graph = fx.symbolic_trace(nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.ReLU()))

    draw(graph, 0, (torch.zeros(2, 1, 3, 3),))

    assert graph.get_submodule("0").weight.isfinite().all()


def test_norms_forget_what_they_have_measured():
    net = nn.Sequential(nn.Conv1d(2, 3, 1), nn.BatchNorm1d(3)).eval()
    net[1].running_mean.fill_(5.0)
    net[1].running_var.fill_(9.0)

    draw(fx.symbolic_trace(net), 0, (torch.randn(4, 2, 5),))

    x = torch.randn(4, 3, 5)
    torch.testing.assert_close(net[1](x), x, atol=1e-4, rtol=1e-4)
