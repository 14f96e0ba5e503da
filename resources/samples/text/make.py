"""Makes the second built-in sample: a small causal transformer that continues text letter by letter, and its data.

Reads the King James Bible that Debian's package ``bible-kjv-text`` ships, through the program ``bible`` of the package
``bible-kjv`` (``apt install bible-kjv``), sets chapters aside for testing, trains on the others and writes beside this
script

- ``text.onnx``: the model, ids of characters ``[N, 128]`` int64 to logits ``[N, 128, characters]``, N free;
- ``text_test.txt``: the chapters set aside, and ``text_train.txt``: a part of those it was trained on;
- ``text_test.data.yaml`` and ``text_train.data.yaml``: how text becomes the model's input.

The seed and the number of threads are fixed, so that a second run on the same machine and PyTorch gives the same
weights. It takes some ten minutes on one core with bfloat16 matrix instructions.
"""

import argparse
import itertools
import logging
import math
import re
import subprocess
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

TEST_CHAPTERS = 20
KEPT_CHAPTERS = 50
LENGTH = 128
WIDTH = 128
HEADS = 4
BLOCKS = 3


class Block(nn.Module):
    """Causal self-attention and two linear layers, each behind a LayerNorm and around it a shortcut (GPT-2's form)."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(WIDTH)
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.project = nn.Linear(WIDTH, WIDTH)
        self.norm2 = nn.LayerNorm(WIDTH)
        self.expand = nn.Linear(WIDTH, 4 * WIDTH)
        self.reduce = nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Maps ``[N, tokens, width]`` to the same shape; `bias` ``[tokens, tokens]`` hides what comes later."""
        y = self.norm1(x)
        query, key, value = (self._heads(layer(y)) for layer in (self.query, self.key, self.value))
        weights = (query @ key.transpose(2, 3) / math.sqrt(WIDTH // HEADS) + bias).softmax(3)
        x = x + self.project((weights @ value).transpose(1, 2).reshape(-1, LENGTH, WIDTH))
        return x + self.reduce(F.gelu(self.expand(self.norm2(x))))

    def _heads(self, x: Tensor) -> Tensor:
        return x.reshape(-1, LENGTH, HEADS, WIDTH // HEADS).transpose(1, 2)


class CharacterTransformer(nn.Module):
    """A causal transformer over characters: 18 linear layers in 3 blocks and one that gives the logits."""

    def __init__(self, characters: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(characters, WIDTH)
        self.position = nn.Parameter(0.02 * torch.randn(LENGTH, WIDTH))
        self.blocks = nn.ModuleList(Block() for _ in range(BLOCKS))
        self.norm = nn.LayerNorm(WIDTH)
        self.classifier = nn.Linear(WIDTH, characters)
        self.register_buffer("later", torch.full((LENGTH, LENGTH), -1e4).triu(1))
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.05)

    def forward(self, characters: Tensor) -> Tensor:
        """Maps ids ``[N, 128]`` to the logits of the characters that come next, ``[N, 128, characters]``."""
        x = self.embed(characters) + self.position
        for block in self.blocks:
            x = block(x, self.later)
        return self.classifier(self.norm(x))


def read_chapters(program: str, folder: str | None) -> list[str]:
    """All chapters, one verse on each line, without numbers."""
    place = [] if folder is None else ["-p", folder]
    command = [program, *place, "-l5000", "gen1:1-rev22:21"]
    try:
        printed = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True, text=True).stdout
    except FileNotFoundError as error:
        raise SystemExit(f"{program} is missing: apt install bible-kjv, or name it with --bible") from error
    parts = re.split(r"^\S[^\n]* \d+ *$", printed, flags=re.MULTILINE)[1:]
    chapters = ["\n".join(re.findall(r"^ +\d+ (.+?) *$", part, re.MULTILINE)) + "\n" for part in parts]
    return [chapter for chapter in chapters if chapter.strip()]


def split(chapters: list[str], rng: np.random.Generator) -> tuple[str, str, str]:
    """The text set aside for testing, all the text to train on, and the part of that which the sample keeps."""
    order = rng.permutation(len(chapters))
    test, rest = np.sort(order[:TEST_CHAPTERS]), np.sort(order[TEST_CHAPTERS:])
    kept = np.sort(rng.choice(rest, KEPT_CHAPTERS, replace=False))
    aside, learned, small = ("".join(chapters[index] for index in part) for part in (test, rest, kept))
    return aside, learned, small


def ids_of(text: str, vocabulary: str) -> Tensor:
    """The text's characters as int64 ids ``[characters]``."""
    numbers = {character: number for number, character in enumerate(vocabulary)}
    return torch.tensor([numbers[character] for character in text])


def train(model: CharacterTransformer, tokens: Tensor, steps: int, batch: int = 32) -> None:
    """Trains `model` in place on windows drawn at random, with a short warm-up and a cosine of the learning rate.

    The blocks' matrices are trained by Muon, which reaches the same loss in about half of AdamW's steps here, the
    rest by AdamW (K. Jordan et al., Muon: an optimizer for hidden layers in neural networks, 2024).
    """
    matrices = [weight for weight in model.blocks.parameters() if weight.dim() == 2]
    inside = {id(weight) for weight in matrices}
    others = [weight for weight in model.parameters() if id(weight) not in inside]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Muon(matrices, lr=0.02, weight_decay=0.02, momentum=0.95),
        torch.optim.AdamW(others, lr=4e-3, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    schedules = [torch.optim.lr_scheduler.LambdaLR(one, lambda step: _pace(step, steps)) for one in optimizers]
    offsets, total = torch.arange(LENGTH + 1), 0.0
    for step in range(1, steps + 1):
        starts = torch.randint(len(tokens) - LENGTH, (batch, 1))
        rows = tokens[starts + offsets]
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(rows[:, :-1])
        loss = F.cross_entropy(logits.float().flatten(0, 1), rows[:, 1:].flatten())
        model.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for one in (*optimizers, *schedules):
            one.step()
        total += loss.item()
        if step % 50 == 0:
            print(f"step {step:5d}/{steps}: perplexity {math.exp(total / 50):.3f}", flush=True)
            total = 0.0
    model.eval()


def _pace(step: int, steps: int) -> float:
    """What the learning rate is multiplied by: up over the first 4 % of the steps, then down along a cosine."""
    rise = max(1, steps // 25)
    return (step + 1) / rise if step < rise else 0.5 * (1 + math.cos(math.pi * (step - rise) / (steps - rise)))


def perplexity(model: nn.Module, tokens: Tensor) -> float:
    """``exp`` of the mean surprise at each character, in windows of 128 that know nothing of what stood before."""
    count = (len(tokens) - 1) // LENGTH
    rows = tokens[: count * LENGTH].reshape(count, LENGTH)
    wanted = tokens[1 : count * LENGTH + 1].reshape(count, LENGTH)
    with torch.inference_mode():
        lost = [F.cross_entropy(model(x).flatten(0, 1), y.flatten(), reduction="sum")
                for x, y in zip(rows.split(64), wanted.split(64), strict=True)]  # fmt: skip
    return math.exp(torch.stack(lost).sum().item() / wanted.numel())


def ngram_perplexity(text: str, aside: str, order: int, characters: int) -> float:
    """What counting comes to in the same windows: n-grams of up to `order` characters, interpolated.

    I. Witten and T. Bell, The zero-frequency problem, IEEE Transactions on Information Theory 37 (1991) 1085-1094:
    ``p(c | h) = (n(hc) + t(h) · p(c | h')) / (n(h) + t(h))`` with t(h) the different characters seen behind h.
    """
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    for size in range(order):
        for place in range(size, len(text)):
            seen[text[place - size : place]][text[place]] += 1
    sums = {history: (sum(after.values()), len(after)) for history, after in seen.items()}
    lost, count = 0.0, (len(aside) - 1) // LENGTH * LENGTH
    for place in range(1, count + 1):
        known = (place - 1) % LENGTH + 1
        chance = 1 / characters
        for size in range(min(known, order - 1) + 1):
            history = aside[place - size : place]
            if history in sums:
                total, different = sums[history]
                chance = (seen[history][aside[place]] + different * chance) / (total + different)
        lost -= math.log(chance)
    return math.exp(lost / count)


def save_model(model: nn.Module, path: Path) -> None:
    """Writes the model as ONNX with a free batch size and without traces of this machine."""
    program = torch.onnx.export(
        model,
        (torch.zeros(2, LENGTH, dtype=torch.int64),),
        dynamo=True,
        input_names=["characters"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        verbose=False,
    )
    plain = program.model_proto
    for part in (plain, plain.graph, *plain.graph.node, *plain.graph.value_info):
        del part.metadata_props[:]
    onnx.save(plain, path)


def save_text(name: str, text: str, vocabulary: str, folder: Path) -> None:
    """Writes the text as ``<name>.txt`` and its description as ``<name>.data.yaml``."""
    (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    form = {
        "source": f"{name}.txt",
        "kind": "tokens",
        "tokenizer": "characters",
        "vocabulary": vocabulary,
        "length": LENGTH,
        "metric": "perplexity",
    }
    (folder / f"{name}.data.yaml").write_text(yaml.safe_dump(form, sort_keys=False, width=200), encoding="utf-8")


def make(folder: Path, chapters: list[str], steps: int, seed: int) -> None:
    """Trains the sample's model, prints its perplexity and writes all files into `folder`."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    aside, learned, kept = split(chapters, np.random.default_rng(seed))
    vocabulary = "".join(sorted(set(itertools.chain.from_iterable(chapters))))
    model = CharacterTransformer(len(vocabulary))
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(vocabulary)} characters, "
          f"{len(learned):,} to train on, {len(aside):,} set aside", flush=True)  # fmt: skip
    train(model, ids_of(learned, vocabulary), steps)
    save_model(model, folder / "text.onnx")
    for name, text in (("text_test", aside), ("text_train", kept)):
        print(f"{name}: perplexity {perplexity(model, ids_of(text, vocabulary)):.4f} on {len(text):,} characters")
        save_text(name, text, vocabulary, folder)
    for order in (3, 5, 6):
        counted = ngram_perplexity(learned, aside, order, len(vocabulary))
        print(f"{order}-grams, Witten-Bell, same text: {counted:.4f}", flush=True)


def main() -> None:
    """Reads the command line and makes the sample."""
    parser = argparse.ArgumentParser(description="Train the built-in text sample and write its files.")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent, help="folder for the files (default: this script's)"
    )
    parser.add_argument("--bible", default="bible", help="the program that prints the text (default: bible)")
    parser.add_argument("--bible-data", help="folder of the program's text, where it is not the usual one")
    parser.add_argument("--steps", type=int, default=2000, help="training steps of 32 windows (default: 2000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the split and the training (default: 0)")
    choices = parser.parse_args()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    choices.out.mkdir(parents=True, exist_ok=True)
    make(choices.out, read_chapters(choices.bible, choices.bible_data), choices.steps, choices.seed)


if __name__ == "__main__":
    main()
