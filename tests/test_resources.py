"""The files that come with the program are found, and the built-in samples keep their promises."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import yaml

from studio import resources
from studio.resources import Sample, resource, samples


def read(form: Path) -> tuple[np.ndarray, np.ndarray, dict[str, object]]:
    """Images, digits and the form of a data description."""
    fields = yaml.safe_load(form.read_text(encoding="utf-8"))
    arrays = np.load(form.parent / fields["source"])
    return arrays[fields["input"]], arrays[fields["label"]], fields


def test_the_digits_are_among_the_samples_with_all_their_files(digits: Sample):
    assert samples()["digits"] == digits
    assert digits.title == "Handwritten digits"
    assert all(path.is_file() for path in (digits.model, digits.model.with_suffix(".pt2"), digits.test, digits.train))


def test_the_sample_model_is_right_on_97_percent_of_images_it_was_not_trained_on(digits: Sample):
    images, labels, form = read(digits.test)
    x = (images.transpose(0, 3, 1, 2) / form["scale"] - form["mean"]) / form["std"]
    logits = onnxruntime.InferenceSession(digits.model).run(None, {"image": x.astype(np.float32)})[0]
    assert images.shape == (1000, 28, 28, 1)
    assert (logits.argmax(1) == labels).mean() >= 0.97


def test_no_test_image_is_among_the_training_images(digits: Sample):
    test, train = (read(form)[0] for form in (digits.test, digits.train))
    assert {image.tobytes() for image in test}.isdisjoint({image.tobytes() for image in train})


def test_the_sample_stays_small_and_says_whose_data_it_is(digits: Sample):
    folder = digits.model.parent
    assert sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) <= 3_000_000
    assert "Attribution-ShareAlike 3.0" in (folder / "LICENSE-data.md").read_text(encoding="utf-8")


def windows(sample: Sample, form: Path) -> tuple[np.ndarray, np.ndarray]:
    """Ids of the text in windows ``[samples, 128]``, and of what comes next."""
    fields = yaml.safe_load(form.read_text(encoding="utf-8"))
    text = (form.parent / fields["source"]).read_text(encoding="utf-8")
    ids = np.array([fields["vocabulary"].index(character) for character in text])
    count = (len(ids) - 1) // 128
    return ids[: count * 128].reshape(count, 128), ids[1 : count * 128 + 1].reshape(count, 128)


def test_the_text_sample_knows_more_than_counting_six_letters_does(text_sample: Sample):
    rows, wanted = windows(text_sample, text_sample.test)
    logits = onnxruntime.InferenceSession(text_sample.model).run(None, {"characters": rows[:96]})[0].astype(np.float64)
    chances = logits - np.log(np.exp(logits).sum(2, keepdims=True))
    surprise = -np.take_along_axis(chances, wanted[:96, :, None], 2).mean()
    assert rows.shape == (448, 128)
    assert 2.0 < np.exp(surprise) < 2.9964  # 6-grams (Witten-Bell) over all the text it was trained on reach 2.9964


def test_the_text_sample_stays_small_and_says_whose_text_it_is(text_sample: Sample):
    folder = text_sample.model.parent
    assert sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) <= 3_000_000
    assert "public domain" in (folder / "LICENSE-data.md").read_text(encoding="utf-8")


def test_no_chapter_set_aside_is_among_those_to_train_on(text_sample: Sample):
    test, train = (
        form.with_name(f"{form.name.removesuffix('.data.yaml')}.txt").read_text(encoding="utf-8").splitlines()
        for form in (text_sample.test, text_sample.train)
    )
    assert {line for line in test if len(line) > 150}.isdisjoint(train)


def test_an_installed_program_finds_its_files_inside_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "icons").mkdir()
    (tmp_path / "icons" / "studio.svg").touch()
    monkeypatch.setattr(resources, "_INSTALLED", tmp_path)
    assert resource("icons/studio.svg") == tmp_path / "icons" / "studio.svg"


def test_a_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match=r"icons.no_such\.svg is missing"):
        resource("icons/no_such.svg")
