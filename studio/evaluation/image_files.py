"""Image files as pixels of one size: every file is read when it is asked for, and checked before memory is taken."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from studio.errors import DataError, first_line
from studio.evaluation.arrays import Array, Indices

#: Endings that count as images; whatever else lies in a folder is left alone.
ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")

#: Decoders that may run: plain pixels, and none that hands a file to another program as PostScript's does.
_DECODERS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")

#: A file of a few kB can declare any size: larger images are refused before they are unpacked.
LARGEST_PIXELS = 50_000_000

#: Bytes of decoded pixels that one folder keeps, so that measuring again does not decode again.
KEPT_BYTES = 256 << 20


@dataclass(frozen=True)
class Fit:
    """How images of any size become samples of one.

    Attributes:
        height, width: of a sample.
        channels: 1 for grey, 3 for colours.
        bgr: whether blue comes first.
        resize: length in pixels that the shorter side is brought to before the middle is cut out; None makes the image
            just large enough to be cut.
        stretch: bring it to the size without regard to its proportions, and cut nothing.
    """

    height: int
    width: int
    channels: int
    bgr: bool = False
    resize: int | None = None
    stretch: bool = False


class ImageFiles:
    """Image files as an array ``[samples, height, width, channels]`` of bytes that is read where it is indexed.

    Attributes:
        shape: of the array.
        dtype: bytes.
    """

    dtype: np.dtype[Any] = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, files: list[Path], fit: Fit) -> None:
        self.files = files
        self.shape = (len(files), fit.height, fit.width, fit.channels)
        self._fit = fit
        self._kept = np.empty(self.shape, np.uint8) if np.prod(self.shape, dtype=object) <= KEPT_BYTES else None
        self._known = np.zeros(len(files), bool)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, rows: Indices) -> Array:
        if self._kept is None:
            return np.stack([read_image(self.files[row], self._fit) for row in rows])
        for row in rows:
            if not self._known[row]:
                self._kept[row] = read_image(self.files[row], self._fit)
                self._known[row] = True
        return np.asarray(self._kept[np.asarray(rows)])


def read_image(path: Path, fit: Fit) -> Array:
    """The pixels of one file, ``[height, width, channels]`` bytes.

    The camera's orientation is applied, deeper channels are cut to 8 bits, and transparency is left out as training
    pipelines do (Pillow's conversion). An image that has the size already is passed on pixel by pixel.

    Raises:
        DataError: the file is no image, damaged, too large, or smaller than what is to be cut out of it.
    """
    try:
        with Image.open(path, formats=_DECODERS) as image:
            _check_size(path, image)
            plain = _eight_bits(path, ImageOps.exif_transpose(image))
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(f"{path}: does not fit into memory.") from error
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        raise DataError(f"{path}: is damaged or no image: {first_line(error)}.") from error
    pixels = np.asarray(_fitted(path, plain.convert("L" if fit.channels == 1 else "RGB"), fit))
    pixels = pixels.reshape(fit.height, fit.width, fit.channels)
    return pixels[..., ::-1] if fit.bgr else pixels


def image_size(path: Path) -> tuple[int, int]:
    """Height and width of an image by its header, as it will be seen.

    Raises:
        DataError: the file is no image.
    """
    try:
        with Image.open(path, formats=_DECODERS) as image:
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
            return (image.width, image.height) if turned else (image.height, image.width)
    except Exception as error:  # as above
        raise DataError(f"{path}: is damaged or no image: {first_line(error)}.") from error


def _check_size(path: Path, image: Image.Image) -> None:
    if image.width * image.height > LARGEST_PIXELS:
        size = f"{image.width}×{image.height}"
        raise DataError(f"{path}: declares {size} pixels; at most {LARGEST_PIXELS:,} are read.")


def _eight_bits(path: Path, image: Image.Image) -> Image.Image:
    """The image in a mode of bytes, loaded."""
    if image.mode == "F":
        raise DataError(f"{path}: holds floating point pixels; store them as .npy instead.")
    if image.mode.startswith("I"):  # 16 bits, which some versions of Pillow widen to 32
        return Image.fromarray((np.clip(np.asarray(image), 0, 65535) >> 8).astype(np.uint8))
    image.load()
    return image


def _fitted(path: Path, image: Image.Image, fit: Fit) -> Image.Image:
    """Resized (bilinear over all pixels that a new one covers) and cut to the middle."""
    wide, high = fit.width, fit.height
    if fit.stretch:
        return image.resize((wide, high), Image.Resampling.BILINEAR) if image.size != (wide, high) else image
    short = min(image.size)
    scale = fit.resize / short if fit.resize else max(wide / image.width, high / image.height)
    if scale != 1:
        # the shorter side exactly, the longer rounded down, as torchvision has it, but never below what is cut
        size = [max(fit.resize or 1, int(scale * side + 1e-6)) for side in image.size]
        if fit.resize is None:
            size = [max(new, cut) for new, cut in zip(size, (wide, high), strict=True)]
        image = image.resize((size[0], size[1]), Image.Resampling.BILINEAR)
    left, top = round((image.width - wide) / 2), round((image.height - high) / 2)
    if left < 0 or top < 0:
        raise DataError(
            f"{path}: resized to {image.width}×{image.height} it is smaller than the {wide}×{high} to be cut out; "
            "choose a larger 'resize'."
        )
    return image if image.size == (wide, high) else image.crop((left, top, left + wide, top + high))
