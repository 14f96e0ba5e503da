"""TorchScript programs: never run unasked, run once when trusted, opened as what they became."""

import pytest
import torch
from torch import nn

from studio.errors import ModelFileError, TrustNeededError
from studio.models.open import open_model
from studio.models.torchscript import convert, is_torchscript


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Linear(4, 5)

    def forward(self, x):
        return self.fc(torch.relu(self.norm(self.conv(x))).mean((2, 3)))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture(scope="module")
def program(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("script") / "net.pt"
    torch.jit.save(torch.jit.trace(network, torch.randn(1, 3, 8, 8)), path)
    return path


@pytest.fixture(scope="module")
def archive(program, tmp_path_factory):
    return convert(program, tmp_path_factory.mktemp("trusted"), None, ((3, 8, 8),))


def test_a_program_that_cannot_be_read_is_told_by_its_name(tmp_path):
    for path in (tmp_path / "missing.pt", tmp_path):
        with pytest.raises(ModelFileError, match=rf"{path.name} cannot be read: (No such file|Is a directory)"):
            convert(path, tmp_path / "trusted", None, ())


def test_a_program_is_not_run_unless_it_is_trusted(program, monkeypatch):
    monkeypatch.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("it was loaded"))
    with pytest.raises(TrustNeededError, match=r"net\.pt is a TorchScript program.*\(--trust\)") as caught:
        open_model(program)
    assert len(caught.value.fingerprint) == 64


def test_a_trusted_program_gives_the_outputs_it_had_for_any_batch(program, archive, network):
    model = open_model(program, skeleton=archive)
    x = torch.randn(5, 3, 8, 8)
    torch.testing.assert_close(model.graph(x), network(x), atol=1e-5, rtol=1e-5)
    assert model.info.format == "torchscript"
    assert [layer.name for layer in model.info.layers] == ["conv", "fc"]
    assert model.info.bytes == program.stat().st_size
    assert model.graph.get_parameter("conv.weight").requires_grad


def test_trust_is_in_bytes_not_in_names(program, archive, tmp_path):
    other = tmp_path / "net.pt"
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.randn(1, 2)), other)
    with pytest.raises(ModelFileError, match="has changed since it was trusted"):
        open_model(other, skeleton=archive)
    with pytest.raises(TrustNeededError):
        convert(other, tmp_path, archive.stem.partition("-")[0], ())
    assert is_torchscript(other)
    assert not is_torchscript(archive)


def test_a_program_that_runs_on_nothing_says_how_to_name_its_shape(tmp_path):
    path = tmp_path / "odd.pt"
    torch.jit.save(torch.jit.script(nn.Bilinear(3, 4, 5)), path)
    with pytest.raises(ModelFileError, match=r"odd\.pt: .* name the shape .*--input-shape"):
        convert(path, tmp_path, None, ())
