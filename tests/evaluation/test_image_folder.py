"""Folders of images: which file is which sample, and that the pixels are those of an independent reader."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from studio.errors import DataError
from studio.evaluation.data import Dataset, open_data
from studio.evaluation.image_files import Fit, read_image
from studio.evaluation.image_folder import list_images
from studio.models.layer import ModelInfo, TensorSpec

RANDOM = np.random.default_rng(0)


def pixels(height: int = 8, width: int = 8, channels: int = 3) -> np.ndarray:
    return RANDOM.integers(0, 256, (height, width, channels), dtype=np.uint8)


def save(path: Path, image: np.ndarray, **options: object) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(path, **options)
    return image


def takes(*shape: int | None, classes: int = 3) -> ModelInfo:
    """A model that takes images of this shape."""
    spec, answer = TensorSpec("x", "float32", (None, *shape)), TensorSpec("y", "float32", (None, classes))
    return ModelInfo("net.onnx", "onnx", "", (spec,), (answer,), (), 0, 0, 0)


def describe(folder: Path, **fields: object) -> Path:
    path = folder.parent / f"{folder.name}.data.yaml"
    path.write_text(yaml.safe_dump({"source": folder.name, "kind": "image", **fields}))
    return path


def first(data: Dataset) -> np.ndarray:
    return data.inputs([0])[0][0].numpy()


def test_class_folders_in_the_order_of_their_names_are_the_labels(tmp_path: Path) -> None:
    folder = tmp_path / "animals"
    for name in ("dog/b.png", "dog/a.png", "cat/deep/er/z.png", "ant/1.png", "ant/.hidden.png"):
        save(folder / name, pixels())
    (folder / "ant" / "notes.txt").write_text("not an image")

    data = open_data(describe(folder), takes(3, 8, 8))

    assert data.labels(range(4)).tolist() == [0, 1, 2, 2]
    assert data.names == {"ant": 0, "cat": 1, "dog": 2}
    assert (data.metric, data.classes) == ("top1", 3)
    assert [path.name for path in list_images(folder).files] == ["1.png", "z.png", "a.png", "b.png"]


def test_the_description_may_give_the_order_or_the_output_of_each_class(tmp_path: Path) -> None:
    folder = tmp_path / "animals"
    for name in ("cat", "dog"):
        save(folder / name / "1.png", pixels())

    ordered = open_data(describe(folder, classes=["dog", "cow", "cat"]), takes(3, 8, 8))
    numbered = open_data(describe(folder, classes={"cat": 281, "dog": 207}), takes(3, 8, 8, classes=1000))

    assert ordered.labels([0, 1]).tolist() == [2, 0]
    assert numbered.labels([0, 1]).tolist() == [281, 207]
    with pytest.raises(DataError, match="does not list 'dog', which samples are of"):
        open_data(describe(folder, classes=["cat", "dogs"]))


def test_images_without_class_folders_or_with_an_empty_label_have_none(tmp_path: Path) -> None:
    save(tmp_path / "flat" / "1.png", pixels())
    save(tmp_path / "classes" / "cat" / "1.png", pixels())

    flat = open_data(describe(tmp_path / "flat"), takes(3, 8, 8))
    classes = open_data(describe(tmp_path / "classes", label=""), takes(3, 8, 8))

    assert (flat.labelled, flat.metric) == (False, "agreement")
    assert not classes.labelled


def test_images_of_the_right_size_are_passed_on_pixel_by_pixel_and_read_once(tmp_path: Path) -> None:
    image = save(tmp_path / "set" / "1.png", pixels())
    mean, std = [0.5, 0.4, 0.3], [0.2, 0.25, 0.5]
    data = open_data(describe(tmp_path / "set", scale=255, mean=mean, std=std), takes(3, 8, 8))

    np.testing.assert_allclose(first(data), ((image / 255 - mean) / std).transpose(2, 0, 1), rtol=1e-5, atol=1e-6)
    (tmp_path / "set" / "1.png").unlink()
    assert first(data).shape == (3, 8, 8)


def test_a_model_that_takes_channels_last_or_grey_gets_that(tmp_path: Path) -> None:
    image = save(tmp_path / "set" / "1.png", pixels())

    last = open_data(describe(tmp_path / "set"), takes(8, 8, 3))
    grey = open_data(describe(tmp_path / "set"), takes(1, 8, 8))
    bgr = open_data(describe(tmp_path / "set", colour="bgr"), takes(3, 8, 8))

    np.testing.assert_array_equal(first(last), image)
    np.testing.assert_array_equal(first(bgr), image[..., ::-1].transpose(2, 0, 1))
    luma = image @ [0.299, 0.587, 0.114]  # ITU-R 601, as Pillow has it
    np.testing.assert_allclose(first(grey)[0], luma, atol=1.0)


def test_larger_images_are_resized_to_cover_the_input_and_their_middle_is_cut_out(tmp_path: Path) -> None:
    ramp = np.repeat(np.arange(0, 240, 5, dtype=np.uint8)[None, :, None], 16, 0).repeat(3, 2)  # 16 × 48
    save(tmp_path / "wide" / "1.png", ramp)

    cut = first(open_data(describe(tmp_path / "wide"), takes(3, 8, 8)))
    stretched = first(open_data(describe(tmp_path / "wide", fit="stretch"), takes(3, 8, 8)))
    smaller = first(open_data(describe(tmp_path / "wide", resize=16), takes(3, 8, 8)))

    # 8 × 24 after resizing, of which columns 8 … 15 are the middle: each is the mean of two and their neighbours
    np.testing.assert_allclose(cut[0, 4], 5 * (2 * np.arange(8, 16) + 0.5), atol=1)
    np.testing.assert_allclose(stretched[0, 4, 1:-1], 5 * (6 * np.arange(1, 7) + 2.5), atol=1)
    np.testing.assert_array_equal(smaller[0, 4], ramp[4, 20:28, 0])


def test_a_free_size_is_that_of_the_description_or_of_the_first_image(tmp_path: Path) -> None:
    save(tmp_path / "set" / "1.png", pixels(10, 12))
    save(tmp_path / "set" / "2.png", pixels(20, 20))

    assert open_data(describe(tmp_path / "set"), takes(3, None, None)).inputs([0, 1])[0].shape == (2, 3, 10, 12)
    assert open_data(describe(tmp_path / "set", crop=6), takes(3, None, None)).inputs([1])[0].shape == (1, 3, 6, 6)


def test_a_photo_is_turned_as_the_camera_was_held(tmp_path: Path) -> None:
    image = pixels(4, 8)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise
    save(tmp_path / "1.png", image, exif=exif)

    np.testing.assert_array_equal(read_image(tmp_path / "1.png", Fit(8, 4, 3)), np.rot90(image, -1))


def test_deep_grey_transparent_and_palette_images_become_bytes(tmp_path: Path) -> None:
    deep = RANDOM.integers(0, 65536, (8, 8), dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    clear = save(tmp_path / "clear.png", pixels(channels=4))
    grey = save(tmp_path / "grey.png", pixels(channels=1))
    Image.fromarray(grey[..., 0]).convert("P").save(tmp_path / "palette.gif")

    def read(name: str, channels: int) -> np.ndarray:
        return read_image(tmp_path / name, Fit(8, 8, channels))

    np.testing.assert_array_equal(read("deep.png", 1)[..., 0], deep >> 8)
    np.testing.assert_array_equal(read("clear.png", 3), clear[..., :3])
    np.testing.assert_array_equal(read("grey.png", 3), grey.repeat(3, 2))
    np.testing.assert_array_equal(read("palette.gif", 1), grey)


def bomb(path: Path, side: int) -> None:
    """A PNG of a hundred bytes that declares `side` × `side` pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b""))


@pytest.mark.parametrize("side", [8000, 60000])
def test_an_image_that_declares_too_many_pixels_is_refused_by_its_header(tmp_path: Path, side: int) -> None:
    bomb(tmp_path / "bomb.png", side)

    with pytest.raises(DataError, match=r"bomb\.png: ") as refused:
        read_image(tmp_path / "bomb.png", Fit(8, 8, 3))
    assert "pixels" in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"no image", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"])
def test_what_is_no_image_is_named_and_nothing_is_run(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.png").write_bytes(content)

    with pytest.raises(DataError, match=r"broken.png: is damaged or no image"):
        read_image(tmp_path / "broken.png", Fit(8, 8, 3))


def test_a_truncated_image_is_named(tmp_path: Path) -> None:
    save(tmp_path / "1.png", pixels(64, 64))
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:2000])

    with pytest.raises(DataError, match=r"1.png: is damaged"):
        read_image(tmp_path / "1.png", Fit(8, 8, 3))


def test_links_out_of_the_folder_are_refused_until_the_description_lets_them(tmp_path: Path) -> None:
    image = save(tmp_path / "elsewhere" / "1.png", pixels())
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "cat").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(DataError, match=r"set/cat: is a link to .*elsewhere, outside .*'links: true'"):
        open_data(describe(tmp_path / "set"), takes(3, 8, 8))
    followed = open_data(describe(tmp_path / "set", links=True), takes(3, 8, 8))

    np.testing.assert_array_equal(first(followed), image.transpose(2, 0, 1))


def test_a_link_to_its_own_folder_ends(tmp_path: Path) -> None:
    save(tmp_path / "set" / "cat" / "1.png", pixels())
    (tmp_path / "set" / "cat" / "again").symlink_to(tmp_path / "set")

    assert len(list_images(tmp_path / "set", links=True).files) == 1


def test_folders_that_are_no_data_set_say_so(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    save(tmp_path / "mixed" / "cat" / "1.png", pixels())
    save(tmp_path / "mixed" / "loose.png", pixels())
    save(tmp_path / "set" / "1.png", pixels())

    with pytest.raises(DataError, match="holds no images"):
        open_data(describe(tmp_path / "empty"), takes(3, 8, 8))
    with pytest.raises(DataError, match=r"images in folders and beside them \(loose.png\)"):
        open_data(describe(tmp_path / "mixed"), takes(3, 8, 8))
    with pytest.raises(DataError, match="the model's input 'x' is 784: no image"):
        open_data(describe(tmp_path / "set"), takes(784))
    with pytest.raises(DataError, match="smaller than the 8×8 to be cut out; choose a larger 'resize'"):
        open_data(describe(tmp_path / "set", resize=4), takes(3, 8, 8)).inputs([0])
