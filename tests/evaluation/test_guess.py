"""Data that nobody described: what the studio makes of them, and how well."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, fx, nn

from studio.errors import DataError
from studio.evaluation.data import open_described
from studio.evaluation.data_guess import DataGuess, written_for
from studio.evaluation.description import DataDescription, load_description, save_description
from studio.evaluation.guess import guess_data
from studio.evaluation.look import look
from studio.evaluation.normalisations import IMAGENET, SIGNED, Normalisation
from studio.evaluation.structure import structure_of
from studio.models.layer import ModelInfo, TensorSpec
from studio.models.model import Model
from studio.models.open import open_model
from studio.resources import Sample

RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def digits_model(digits: Sample) -> Model:
    return open_model(digits.model)


@pytest.fixture(scope="module")
def pngs(digits: Sample, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hundred images of the sample as PNG files in folders of their classes."""
    folder = tmp_path_factory.mktemp("data") / "digits"
    arrays = np.load(digits.test.with_name("digits_test.npz"))
    for number, (image, label) in enumerate(zip(arrays["x"][:200], arrays["y"], strict=False)):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(folder / str(label) / f"{number:03}.png")
    return folder


class Nearest(nn.Module):
    """Scores each of a few patterns by how near the sample is to it: right only where the normalisation is."""

    def __init__(self, patterns: Tensor) -> None:
        super().__init__()
        self.linear = nn.Linear(patterns[0].numel(), len(patterns))
        self.linear.weight.data = 2 * patterns.flatten(1)
        self.linear.bias.data = -patterns.flatten(1).square().sum(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.flatten(1))


def model_of(
    net: nn.Module, inputs: tuple[int | None, ...], outputs: tuple[int | None, ...], dtype: str = "float32"
) -> Model:
    specs = (TensorSpec("x", dtype, inputs),), (TensorSpec("y", "float32", outputs),)
    return Model(fx.symbolic_trace(net).eval(), ModelInfo("net.onnx", "onnx", "net", *specs, (), 0, 0, 0))


def levels(way: Normalisation, channels: int = 3) -> tuple[np.ndarray, Model]:
    """Flat images of six levels, and a model that tells them apart where `way` normalises them."""
    bytes_ = (
        np.array([[20, 60, 100, 140, 180, 220]], np.uint8)
        .repeat(channels, 0)
        .T[:, None, None]
        .repeat(4, 1)
        .repeat(4, 2)
    )
    patterns = way.apply(torch.from_numpy(bytes_).permute(0, 3, 1, 2).float(), 1)
    return bytes_, model_of(Nearest(patterns), (None, channels, 4, 4), (None, 6))


def test_a_folder_of_digits_needs_no_description(pngs: Path, digits_model: Model) -> None:
    guess = guess_data(pngs, digits_model)

    said = guess.described
    assert (said.source, said.kind, said.scale, said.classes) == ("digits", "image", 255, tuple("0123456789"))
    assert guess.baseline.value > 96
    assert (guess.samples, guess.labelled, guess.place) == (200, True, str(pngs.with_name("digits.data.yaml")))
    assert "\n" not in guess.line
    assert "10 folders are the classes" in guess.line


def test_the_sample_s_arrays_need_no_description(digits: Sample, digits_model: Model) -> None:
    guess = guess_data(digits.test.with_name("digits_test.npz"), digits_model)

    said = guess.described
    assert (said.input, said.label, said.kind, said.layout, said.scale) == ("x", "y", "image", "NHWC", 255)
    assert guess.baseline.value == pytest.approx(98.5, abs=0.3)


@pytest.mark.parametrize("way", [IMAGENET, SIGNED])
@pytest.mark.parametrize("first", [True, False])
def test_the_normalisation_is_the_one_that_the_model_answers_best_to(
    tmp_path: Path, way: Normalisation, first: bool
) -> None:
    images, model = levels(way)
    labels = RANDOM.integers(0, 6, 120)
    stored = images[labels].transpose(0, 3, 1, 2) if first else images[labels]
    np.savez(tmp_path / "set.npz", pictures=stored, answer=labels)

    guess = guess_data(tmp_path / "set.npz", model)

    assert (guess.described.scale, guess.described.mean, guess.described.std) == (way.scale, way.mean, way.std)
    assert (guess.described.layout, guess.tried[0].name) == ("NCHW" if first else "NHWC", way.name)
    assert guess.baseline.value == 100


def test_numbers_of_an_unknown_unit_are_fitted_to_the_labels(tmp_path: Path) -> None:
    means = torch.tensor([[-1.0, 0.0], [0.0, 1.0], [1.0, -1.0]])
    labels = RANDOM.integers(0, 3, 240)
    true = means.numpy()[labels] + 0.1 * RANDOM.normal(size=(240, 2))
    np.savez(tmp_path / "set.npz", x=np.clip(np.round(true * 30 + 70), -128, 127).astype(np.int8), y=labels)

    guess = guess_data(tmp_path / "set.npz", model_of(Nearest(means), (None, 2), (None, 3)))

    assert guess.baseline.value > 95
    if "fitted" in guess.reasons[-1]:
        assert guess.described.mean[0] == pytest.approx(70, abs=25)


def test_without_labels_the_usual_normalisation_is_taken_and_doubted(tmp_path: Path) -> None:
    images, model = levels(IMAGENET)
    np.save(tmp_path / "set.npy", images)

    guess = guess_data(tmp_path / "set.npy", model)

    assert guess.described.mean == IMAGENET.mean
    assert (guess.labelled, guess.baseline.name, guess.baseline.value) == (False, "agreement", 100)
    assert "please check" in guess.line


def test_folders_numbered_by_class_are_told_from_folders_in_the_order_of_names(tmp_path: Path) -> None:
    shades = np.linspace(10, 240, 12).astype(np.uint8)
    patterns = torch.from_numpy(shades / 255).float()[:, None, None, None].expand(12, 1, 2, 2)

    def guessed(order: list[int]) -> DataGuess:
        folder = tmp_path / ("names" if order[2] == 10 else "numbers")
        for output, shade in enumerate(shades):
            (folder / str(order[output])).mkdir(parents=True)
            for copy in range(4):
                Image.fromarray(np.full((2, 2), shade)).save(folder / str(order[output]) / f"{copy}.png")
        return guess_data(folder, model_of(Nearest(patterns), (None, 1, 2, 2), (None, 12)))

    by_number = guessed(list(range(12)))
    by_name = guessed(sorted(range(12), key=str))

    assert by_number.baseline.value == by_name.baseline.value == 100
    assert by_number.described.classes["2"] == 2
    assert by_name.described.classes["2"] == 4


def test_of_train_and_test_folders_the_test_folder_measures(pngs: Path, digits_model: Model, tmp_path: Path) -> None:
    for part in ("train", "test"):
        for label in "01":
            (tmp_path / "set" / part / label).mkdir(parents=True)
            first = sorted((pngs / label).iterdir())[0]
            (tmp_path / "set" / part / label / "1.png").write_bytes(first.read_bytes())

    guess = guess_data(tmp_path / "set", digits_model)

    assert (guess.described.source, guess.samples) == ("set/test", 2)
    assert "'test' measures" in guess.reasons[0]


def test_a_table_s_label_column_is_found_by_its_name_and_by_what_the_model_takes(tmp_path: Path) -> None:
    patterns = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    model = model_of(Nearest(patterns), (None, 2), (None, 2))
    rows = [f"{n},{n % 2 * 100},{n % 2 * 10},{'ab'[n % 2]}" for n in range(40)]
    (tmp_path / "t.csv").write_text("id,p,q,species\n" + "\n".join(rows))
    (tmp_path / "wide.csv").write_text("p,q,r,s\n1,2,3,4\n")

    guess = guess_data(tmp_path / "t.csv", model)

    assert (guess.described.input, guess.described.label) == (["p", "q"], "species")
    assert guess.baseline.value == 100
    with pytest.raises(DataError, match=re.escape("has 4 columns of numbers (p, q, r, s), the model takes 2")):
        guess_data(tmp_path / "wide.csv", model)


class Follows(nn.Module):
    """A language model that knows one cycle of tokens: after each comes the next."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.table = nn.Embedding(size, size)
        self.table.weight.data = 9 * torch.eye(size).roll(1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.table(x)


@pytest.mark.parametrize(("size", "tokenizer"), [(256, "bytes"), (3, "characters")])
def test_a_text_becomes_the_tokens_that_the_vocabulary_s_size_tells(tmp_path: Path, size: int, tokenizer: str) -> None:
    (tmp_path / "t.txt").write_text("abc" * 60)

    guess = guess_data(tmp_path / "t.txt", model_of(Follows(size), (None, None), (None, None, size), "int64"))

    assert guess.described.tokenizer == tokenizer
    assert guess.baseline.name == "perplexity"
    # the model knows all three steps of the cycle, or of bytes two: after c it expects d
    known = np.log(1 + (size - 1) * np.exp(-9))
    surprise = known if size == 3 else (known * 2 + known + 9) / 3
    assert guess.baseline.value == pytest.approx(np.exp(surprise), rel=0.1)


def test_data_that_fit_nowhere_say_what_was_wanted(tmp_path: Path, digits_model: Model) -> None:
    np.savez(tmp_path / "set.npz", a=np.zeros((3, 5)))

    with pytest.raises(DataError, match=r"no array fits the model's input .* of \?×1×28×28; it has a 3×5"):
        guess_data(tmp_path / "set.npz", digits_model)
    with pytest.raises(DataError, match="there is no such file or folder"):
        guess_data(tmp_path / "none", digits_model)


def test_a_guess_can_be_saved_anywhere_and_read_again(pngs: Path, digits_model: Model, tmp_path: Path) -> None:
    guess = guess_data(pngs, digits_model)
    for target in (pngs.with_name("beside.data.yaml"), tmp_path / "elsewhere.data.yaml"):
        save_description(written_for(guess.described, Path(guess.place), target), target)

    beside, elsewhere = (
        load_description(path) for path in (pngs.with_name("beside.data.yaml"), tmp_path / "elsewhere.data.yaml")
    )

    assert beside == guess.described
    assert elsewhere.source == str(pngs)
    assert len(open_described(tmp_path / "elsewhere.data.yaml", elsewhere, digits_model.info)) == 200


def test_a_look_shows_the_pixels_that_the_model_is_given(tmp_path: Path) -> None:
    images, model = levels(IMAGENET)
    np.savez(tmp_path / "set.npz", x=images, y=np.arange(6))
    described = DataDescription(
        source="set.npz", input="x", label="y", kind="image", scale=255, mean=IMAGENET.mean, std=IMAGENET.std
    )
    seen = []

    view = look(tmp_path / "set.data.yaml", described, model, publish=seen.append)

    order = [int(label) for label in view.captions]
    assert sorted(order) == list(range(6))
    np.testing.assert_array_equal(view.pictures, images[order])
    assert (seen[0].baseline, view.baseline.value) == (None, 100)
    assert view.low == pytest.approx((20 / 255 - 0.485) / 0.229, rel=1e-4)


def test_a_look_at_a_text_decodes_the_tokens(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("abcdefgh", encoding="utf-8")
    described = DataDescription(source="t.txt", kind="tokens", tokenizer="bytes", length=3)

    view = look(tmp_path / "t.data.yaml", described, model_of(Follows(256), (None, None), (None, None, 256), "int64"))

    assert sorted(view.texts) == ["abc", "def"]


class Says(nn.Module):
    """Answers by the first byte of a text: class 1 for ``g``, class 0 for all others."""

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        good = (ids[:, 0] == ord("g")).float() * mask[:, 0]
        return torch.stack([1 - good, good], 1)


def test_a_table_of_reviews_needs_no_description_for_a_model_of_tokens(tmp_path: Path) -> None:
    rows = "".join(
        f'{number},"{word} film, number {number}",{word}\n' for number, word in enumerate(["bad", "good"] * 9)
    )
    (tmp_path / "r.csv").write_text("id,review,label\n" + rows, encoding="utf-8")
    inputs = tuple(TensorSpec(name, "int64", (None, None)) for name in ("input_ids", "attention_mask"))
    info = ModelInfo("net.onnx", "onnx", "n", inputs, (TensorSpec("y", "float32", (None, 2)),), (), 0, 0, 0)
    model = Model(fx.symbolic_trace(Says()).eval(), info)

    guess = guess_data(tmp_path / "r.csv", model)

    said = guess.described
    assert (said.kind, said.input, said.label, said.tokenizer) == ("tokens", "review", "label", "bytes")
    assert (guess.baseline.name, guess.baseline.value, guess.samples) == ("top1", 100, 18)
    assert "'review' is the text, 'label' the label." in guess.line
    view = look(tmp_path / "r.data.yaml", said, model)
    assert sorted(view.texts)[0].startswith("bad film, number 0")
    assert view.captions[view.texts.index(sorted(view.texts)[0])] == "bad"


def test_text_without_labels_is_told_on_by_a_model_that_gives_every_token(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("title,text\nx,abc abc\ny,abcabc\n", encoding="utf-8")

    guess = guess_data(tmp_path / "r.csv", model_of(Follows(256), (None, None), (None, None, 256), "int64"))

    assert (guess.described.input, guess.described.label, guess.baseline.name) == ("text", None, "perplexity")


def test_a_table_without_text_says_what_a_model_of_tokens_wanted(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("a,b\n1,2\n", encoding="utf-8")

    with pytest.raises(DataError, match="has no column of text for the model's tokens; it has a, b"):
        guess_data(tmp_path / "r.csv", model_of(Follows(256), (None, None), (None, None, 256), "int64"))


@pytest.mark.parametrize(
    ("headings", "rows", "columns", "label"),
    [
        ("sentence1,sentence2,score", "a b,c d,0.5", ["sentence1", "sentence2"], "score"),
        ("note,what,y", "a,a much longer text,1", "what", "y"),
        ("class,tweet", "good,hello", "tweet", "class"),
    ],
)
def test_columns_of_text_and_labels_are_told_by_their_names(
    tmp_path: Path, headings: str, rows: str, columns: object, label: str
) -> None:
    (tmp_path / "r.csv").write_text(f"{headings}\n{rows}\n", encoding="utf-8")
    spec = (TensorSpec("ids", "int64", (None, None)),)
    info = ModelInfo("net.onnx", "onnx", "n", spec, (TensorSpec("y", "float32", (None, 2)),), (), 0, 0, 0)

    described = structure_of(tmp_path / "r.csv", info).described

    assert (described.input, described.label) == (columns, label)
