"""The files that come with the program are found, and the built-in sample keeps its promises."""

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


def test_an_installed_program_finds_its_files_inside_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "icons").mkdir()
    (tmp_path / "icons" / "studio.svg").touch()
    monkeypatch.setattr(resources, "_INSTALLED", tmp_path)
    assert resource("icons/studio.svg") == tmp_path / "icons" / "studio.svg"


def test_a_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match=r"icons.no_such\.svg is missing"):
        resource("icons/no_such.svg")
