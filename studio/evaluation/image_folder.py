"""A folder of images: which files are samples, in which order, and what class the folder says each is of."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from studio.errors import DataError, did_you_mean
from studio.evaluation.arrays import Array
from studio.evaluation.image_files import ENDINGS

#: More files than this are not listed: somebody has named the root of a disk.
MOST_FILES = 2_000_000


@dataclass(frozen=True)
class ImageFolder:
    """The images of a folder.

    Attributes:
        path: the folder.
        files: all images, sorted by name within sorted folders.
        groups: the folder directly below `path` that each lies in; None where they lie in `path` itself.
    """

    path: Path
    files: list[Path]
    groups: list[str] | None

    @property
    def class_names(self) -> tuple[str, ...]:
        """The class folders, sorted by name."""
        return tuple(sorted(set(self.groups or ())))


def list_images(folder: Path, *, links: bool = False) -> ImageFolder:
    """Finds the images of a folder.

    Args:
        folder: with images, or with one folder for each class that they lie in, at any depth.
        links: whether links that lead out of the folder are followed.

    Raises:
        DataError: there are none, they lie both in class folders and beside them, or a link leads out.
    """
    files = []
    for path in _walk(folder, links):
        files.append(path)
        if len(files) > MOST_FILES:
            raise DataError(f"{folder}: holds more than {MOST_FILES:,} images; name the folder of one data set.")
    if not files:
        raise DataError(f"{folder}: holds no images ({', '.join(ENDINGS)}).")
    groups = [path.relative_to(folder).parts[0] for path in files if path.parent != folder]
    if groups and len(groups) < len(files):
        loose = next(path.name for path in files if path.parent == folder)
        raise DataError(f"{folder}: has images in folders and beside them ({loose}); name either as the source.")
    return ImageFolder(folder, files, groups or None)


def class_numbers(
    path: Path, groups: Sequence[str], classes: Sequence[str] | Mapping[str, int] | None
) -> tuple[Array, dict[str, int]]:
    """The class of each sample by its name, ``[samples]`` int64, and the classes by name.

    Args:
        path: of the description or data, for errors.
        groups: name of the class of each sample.
        classes: names in the order of the model's outputs, or the output of each name; None takes the sorted names.

    Raises:
        DataError: a name is not among `classes`.
    """
    if classes is None:
        classes = sorted(set(groups))
    known = dict(classes) if isinstance(classes, Mapping) else {name: place for place, name in enumerate(classes)}
    unknown = [name for name in dict.fromkeys(groups) if name not in known]
    if unknown:
        hint = did_you_mean(unknown[0], known)
        raise DataError(f"{path}: classes: does not list '{unknown[0]}', which samples are of.{hint}")
    return np.array([known[name] for name in groups], np.int64), known


def check_link(path: Path, home: Path, links: bool) -> None:
    """Refuses a link that leads out of `home` unless `links` lets it.

    Raises:
        DataError: it does.
    """
    if path.is_symlink() and not links:
        target = path.resolve()
        if not target.is_relative_to(home.resolve()):
            raise DataError(
                f"{path}: is a link to {target}, outside {home}; name that place as the source, or set 'links: true'."
            )


def _walk(folder: Path, links: bool) -> Iterator[Path]:
    """Image files in a fixed order; hidden files and folders are left out."""
    seen = set[Path]()
    for root, folders, names in os.walk(folder, followlinks=links, onerror=_refuse):
        place = Path(root)
        if links and place.resolve() in seen:
            folders.clear()  # a link back to a folder above
            continue
        seen.add(place.resolve() if links else place)
        folders[:] = sorted(_visible(folders))
        for below in folders:
            check_link(place / below, folder, links)
        for name in sorted(_visible(names)):
            if name.lower().endswith(ENDINGS):
                check_link(place / name, folder, links)
                yield place / name


def _visible(names: Iterable[str]) -> Iterator[str]:
    return (name for name in names if not name.startswith((".", "__")))


def _refuse(error: OSError) -> None:
    raise DataError(f"{error.filename}: cannot be read: {error.strerror}.") from error
