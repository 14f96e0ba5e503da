"""Data descriptions and the arrays they name."""

import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.numpy import save_file

from studio.errors import DataError
from studio.evaluation import arrays
from studio.evaluation.data import Dataset, hold_out, open_data
from studio.models.layer import ModelInfo, TensorSpec

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (12, 6, 5, 3), dtype=np.uint8)
LABELS = np.arange(12) % 4


def describe(folder: Path, arrays: dict[str, np.ndarray] | None = None, **fields: object) -> Path:
    """Writes arrays and a description of them."""
    np.savez_compressed(folder / "set.npz", **(arrays or {"x": PIXELS, "y": LABELS}))
    plain = {"source": "set.npz", "input": "x", "label": "y", "kind": "image", **fields}
    path = folder / "set.data.yaml"
    path.write_text(yaml.safe_dump({name: value for name, value in plain.items() if value is not None}))
    return path


def info(shape: tuple[int | None, ...], classes: int = 4, dtype: str = "float32", inputs: int = 1) -> ModelInfo:
    """A model that takes `shape`."""
    return ModelInfo(
        path="net.onnx",
        format="onnx",
        fingerprint="",
        inputs=tuple(TensorSpec(f"x{number}", dtype, shape) for number in range(inputs)),
        outputs=(TensorSpec("y", "float32", (None, classes)),),
        layers=(),
        parameters=0,
        bytes=0,
        macs=0,
    )


def refusal(path: Path, model: ModelInfo | None = None) -> str:
    """The one line that says why a data set cannot be used."""
    with pytest.raises(DataError) as refused:
        open_data(path, model)
    message = str(refused.value)
    assert "\n" not in message
    assert str(path.parent) in message
    return message


def test_pixels_become_scaled_and_normalised_channels(tmp_path: Path) -> None:
    mean, std = [0.5, 0.4, 0.3], [0.2, 0.25, 0.5]
    data = open_data(describe(tmp_path, scale=255, mean=mean, std=std), info((None, 3, 6, 5)))

    (block,) = data.inputs([7, 2])

    expected = ((PIXELS[[7, 2]] / 255 - mean) / std).transpose(0, 3, 1, 2)
    assert block.dtype == torch.float32
    np.testing.assert_allclose(block.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_labels_come_with_their_samples(tmp_path: Path) -> None:
    data = open_data(describe(tmp_path))
    labels = data.labels([7, 2])

    assert labels is not None
    assert labels.tolist() == [3, 2]
    assert labels.dtype == torch.int64
    assert (len(data), data.name, data.metric, data.labelled, data.classes) == (12, "set", "top1", True, 4)


def test_a_model_that_takes_channels_last_gets_them_so(tmp_path: Path) -> None:
    data = open_data(describe(tmp_path, mean=[1, 2, 3], std=[1, 2, 4]), info((None, 6, 5, 3)))

    np.testing.assert_allclose(data.inputs([0])[0][0].numpy(), (PIXELS[0] - [1.0, 2, 3]) / [1, 2, 4])


def test_images_stored_channels_first_are_taken_as_they_are(tmp_path: Path) -> None:
    first = np.ascontiguousarray(PIXELS.transpose(0, 3, 1, 2))
    data = open_data(describe(tmp_path, {"x": first, "y": LABELS}, layout="NCHW"), info((None, 3, 6, 5)))

    np.testing.assert_array_equal(data.inputs([3])[0][0].numpy(), first[3])


def test_grey_images_without_a_channel_axis_get_one(tmp_path: Path) -> None:
    data = open_data(describe(tmp_path, {"x": PIXELS[..., 0], "y": LABELS}), info((None, 1, 6, 5)))

    assert data.inputs([0, 1])[0].shape == (2, 1, 6, 5)


def test_signed_bytes_of_a_tensor_are_normalised_as_numbers(tmp_path: Path) -> None:
    stored = RANDOM.integers(-128, 128, (12, 1, 4, 3)).astype(np.int8)
    path = describe(tmp_path, {"x": stored, "y": LABELS.astype(np.uint8)}, kind="tensor", mean=[83], std=[1.7])

    data = open_data(path, info((None, 1, 4, 3)))

    np.testing.assert_allclose(data.inputs([5])[0][0].numpy(), (stored[5] - 83.0) / 1.7, rtol=1e-5)


def test_numbers_of_a_foreign_byte_order_are_read_right(tmp_path: Path) -> None:
    stored = RANDOM.normal(size=(12, 3)).astype(">f4")
    data = open_data(describe(tmp_path, {"x": stored, "y": LABELS.astype(">i8")}, kind="tensor"))

    np.testing.assert_array_equal(data.inputs([6, 1])[0].numpy(), stored[[6, 1]])
    assert data.labels([6, 1]).tolist() == [2, 1]


def test_tokens_stay_whole_numbers(tmp_path: Path) -> None:
    ids = RANDOM.integers(0, 1000, (12, 7)).astype(np.int32)
    data = open_data(describe(tmp_path, {"x": ids, "y": LABELS}, kind="tokens"), info((None, None), dtype="int64"))

    assert data.inputs([1])[0].dtype == torch.int64
    assert data.inputs([1])[0].tolist() == [ids[1].tolist()]


def test_several_inputs_come_in_the_order_they_are_named(tmp_path: Path) -> None:
    arrays = {"a": np.zeros((5, 2), np.float32), "b": np.ones((5, 2), np.float32)}
    path = describe(tmp_path, arrays, input=["b", "a"], label=None, kind="tensor")

    data = open_data(path, info((None, 2), inputs=2))

    assert [float(part.mean()) for part in data.inputs([0, 1])] == [1.0, 0.0]
    assert (data.metric, data.labelled, data.labels([0])) == ("agreement", False, None)


@pytest.mark.parametrize("suffix", [".npy", ".safetensors"])
def test_other_array_files_are_read_alike(tmp_path: Path, suffix: str) -> None:
    path = describe(tmp_path, source=f"set{suffix}", label=None)
    if suffix == ".npy":
        np.save(tmp_path / "set.npy", PIXELS)
    else:
        save_file({"x": PIXELS}, tmp_path / "set.safetensors")

    np.testing.assert_array_equal(open_data(path).inputs([4])[0][0].numpy(), PIXELS[4].transpose(2, 0, 1))


def test_a_large_npy_file_is_mapped_and_never_read_whole(tmp_path: Path) -> None:
    path = describe(tmp_path, source="set.npy", label=None)
    stored = np.lib.format.open_memmap(tmp_path / "set.npy", "w+", np.uint8, (100_000, 64, 64, 3))  # 1.2 GB of holes
    stored[99_999] = 7
    del stored

    tracemalloc.start()
    (block,) = open_data(path).inputs([0, 99_999])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert block.mean((1, 2, 3)).tolist() == [0, 7]
    assert peak < 10_000_000


def test_samples_of_another_shape_are_named_beside_the_model_s(tmp_path: Path) -> None:
    message = refusal(describe(tmp_path), info((None, 3, 32, 32)))

    assert "holds samples of 6×5×3, the model takes 3×32×32" in message


def test_a_model_with_two_inputs_wants_two_arrays(tmp_path: Path) -> None:
    assert "names 1, the model takes 2: x0, x1" in refusal(describe(tmp_path), info((None, 3, 6, 5), inputs=2))


def test_an_unknown_array_is_named_with_the_nearest_valid_one(tmp_path: Path) -> None:
    message = refusal(describe(tmp_path, {"images": PIXELS, "y": LABELS}, input="image"))

    assert "has no array 'image'; it has images, y. Did you mean 'images'?" in message


def test_an_unknown_field_is_named_with_the_nearest_valid_one(tmp_path: Path) -> None:
    message = refusal(describe(tmp_path, labels="y"))

    assert "labels: unknown field" in message
    assert "Did you mean 'label'?" in message


def test_an_unknown_metric_is_named_with_the_nearest_valid_one(tmp_path: Path) -> None:
    assert "Did you mean 'top1'?" in refusal(describe(tmp_path, metric="top_1"))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"source": None}, "source: is missing"),
        ({"kind": "video"}, "kind: "),
        ({"scale": 0}, "scale: "),
        ({"std": [0.2, 0.0, 0.1]}, "std.1: "),
        ({"mean": "high"}, "mean: "),
        ({"mean": [0.5, 0.5]}, "mean: has 2 values for samples of 6×5×3"),
        ({"source": "set.mat"}, "cannot read '.mat' files; give .npz, .npy, .safetensors, .csv"),
        ({"source": "other.npz"}, "other.npz: cannot be read: No such file or directory"),
        ({"metric": "top1", "label": None}, "metric: top1 needs whole numbers as labels"),
        ({"metric": "mse", "label": None}, "metric: mse needs labels"),
    ],
)
def test_a_bad_value_is_named_with_its_field(tmp_path: Path, fields: dict[str, object], expected: str) -> None:
    assert expected in refusal(describe(tmp_path, **fields))


def test_labels_beyond_the_model_s_classes_are_refused(tmp_path: Path) -> None:
    message = refusal(describe(tmp_path), info((None, 3, 6, 5), classes=3))

    assert "holds the label 3, but the model has the classes 0 to 2" in message


def test_negative_labels_are_refused(tmp_path: Path) -> None:
    assert "holds the label -1" in refusal(describe(tmp_path, {"x": PIXELS, "y": LABELS - 1}))


def test_arrays_of_different_length_are_refused(tmp_path: Path) -> None:
    assert "differ in length: x 12, y 11" in refusal(describe(tmp_path, {"x": PIXELS, "y": LABELS[:11]}))


def test_an_empty_set_is_refused(tmp_path: Path) -> None:
    assert "holds no samples" in refusal(describe(tmp_path, {"x": PIXELS[:0], "y": LABELS[:0]}))


def test_text_arrays_are_refused(tmp_path: Path) -> None:
    assert "numbers are needed" in refusal(describe(tmp_path, {"x": np.array(["a", "b"])}, label=None, kind="tensor"))


def test_arrays_of_python_objects_are_refused_and_never_unpickled(tmp_path: Path) -> None:
    objects = np.array([{"a": 1}, None], dtype=object)

    assert "something other than plain arrays" in refusal(describe(tmp_path, {"x": objects}, label=None))


@pytest.mark.parametrize("keep", [0, 10, 300, -30])
def test_a_truncated_archive_is_named_in_one_line(tmp_path: Path, keep: int) -> None:
    path = describe(tmp_path)
    source = tmp_path / "set.npz"
    source.write_bytes(source.read_bytes()[:keep])

    assert "set.npz" in refusal(path)


def test_a_header_that_declares_more_than_is_stored_takes_no_memory(tmp_path: Path) -> None:
    path = describe(tmp_path, label=None)
    with zipfile.ZipFile(tmp_path / "set.npz", "w") as archive, archive.open("x.npy", "w") as stream:
        np.lib.format.write_array_header_1_0(
            stream, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40, 1 << 10)}
        )
    assert "is damaged" in refusal(path)


def test_an_archive_that_unpacks_to_more_than_half_the_memory_is_refused_before_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = describe(tmp_path, {"x": np.zeros((20_000, 10, 10, 3), np.uint8)}, label=None)  # 6 MB in 6 kB
    monkeypatch.setattr(arrays, "machine_memory", lambda: 10e6)

    assert "x.npy unpacks to 6,000,000 bytes; store it as .npy instead" in refusal(path)


def test_a_text_that_is_no_yaml_and_a_missing_file_are_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.data.yaml"
    broken.write_text("source: [1, 2")
    lines = tmp_path / "lines.data.yaml"
    lines.write_text("just text")

    assert "is not valid YAML" in refusal(broken)
    assert "holds no data description" in refusal(lines)
    assert "cannot be read: No such file or directory" in refusal(tmp_path / "none.data.yaml")


def test_holding_out_splits_every_class_alike_and_loses_nothing(tmp_path: Path) -> None:
    labels = np.repeat([0, 1], [300, 100])
    path = describe(tmp_path, {"x": np.arange(400.0)[:, None], "y": labels}, kind="tensor")

    train, held = hold_out(open_data(path), 0.1, seed=0)

    def values(data: Dataset) -> list[float]:
        return data.inputs(range(len(data)))[0][:, 0].tolist()

    counts = torch.bincount(held.labels(range(len(held))))
    assert (len(train), len(held)) == (360, 40)
    assert abs(int(counts[0]) - 30) <= 1
    assert sorted(values(train) + values(held)) == list(range(400))
    assert train.fingerprint != held.fingerprint


def test_too_few_samples_to_hold_some_out_are_refused(tmp_path: Path) -> None:
    data = open_data(describe(tmp_path)).take([0, 1, 2])

    with pytest.raises(DataError, match="3 samples are too few to hold out 10%"):
        hold_out(data, 0.1, seed=0)


def test_the_fingerprint_follows_the_content(tmp_path: Path) -> None:
    first = open_data(describe(tmp_path)).fingerprint
    again = open_data(describe(tmp_path)).fingerprint
    other = open_data(describe(tmp_path, {"x": PIXELS // 2, "y": LABELS})).fingerprint
    scaled = open_data(describe(tmp_path, scale=255)).fingerprint

    assert first == again
    assert len({first, other, scaled}) == 3
