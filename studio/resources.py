"""Where the files that come with the program are: icons, help, and the built-in samples.

In a checkout they stand beside the package (``resources/``), in an installed one inside it (``studio/_resources``).
This module only finds them; reading models and data is left to `studio.models` and `studio.evaluation`.
"""

from dataclasses import dataclass
from pathlib import Path

import yaml

_PACKAGE = Path(__file__).parent
_INSTALLED = _PACKAGE / "_resources"
_CHECKOUT = _PACKAGE.parent / "resources"


@dataclass(frozen=True)
class Sample:
    """A built-in model with its data.

    Attributes:
        name: its folder, such as ``digits``; the command line's ``--sample`` takes it.
        title: what a person reads in a list.
        summary: one sentence on the model.
        model: the model's file.
        test: description of the samples that measure the model (``*.data.yaml``).
        train: description of the samples that may be trained on; none of them is in `test`.
    """

    name: str
    title: str
    summary: str
    model: Path
    test: Path
    train: Path


def resource(path: str) -> Path:
    """The file or folder that comes with the program under `path`, such as ``icons/studio.svg``.

    Raises:
        FileNotFoundError: the program does not bring it along; the installation is incomplete.
    """
    root = _INSTALLED if _INSTALLED.is_dir() else _CHECKOUT
    found = root / path
    if not found.exists():
        raise FileNotFoundError(f"{found} is missing: install Compression Studio again.")
    return found


def samples() -> dict[str, Sample]:
    """The built-in samples by name, in alphabetical order: every folder of ``samples`` with a ``sample.yaml``."""
    return {form.parent.name: _read_sample(form) for form in sorted(resource("samples").glob("*/sample.yaml"))}


def _read_sample(form: Path) -> Sample:
    fields = yaml.safe_load(form.read_text(encoding="utf-8"))
    files = {part: form.parent / fields[part] for part in ("model", "test", "train")}
    return Sample(name=form.parent.name, title=fields["title"], summary=fields["summary"], **files)
