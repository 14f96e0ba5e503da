"""TorchScript programs, once the user trusts one: run a single time, to become a ``.pt2`` archive that is plain data.

A program is code: loading one already runs what it holds. So it is loaded only for `convert`, and everything else
opens the archive that came of it, through the same gate as any other. The archive is named by the program's SHA-256,
so that one cannot stand for another.
"""

import hashlib
import io
import logging
import math
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, fx
from torch._export.converter import TS2EPConverter

from studio.errors import ModelFileError, TrustNeededError
from studio.files import make_folder, write_atomically
from studio.models.pt2_file import lift

_ENDINGS = (".pt", ".pth", ".ts", ".bin")

#: Sizes of images that are tried where nobody says what goes in, the commonest small ones first.
_SIZES = (32, 224, 28, 64, 96, 299)


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript program: an archive that holds code."""
    if path.suffix.lower() not in _ENDINGS or not path.is_file():
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any("/code/" in name for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False


def refuse_untrusted(path: Path) -> None:
    """Says what it takes to open a program.

    Raises:
        TrustNeededError: always, with the program's fingerprint.
    """
    raise TrustNeededError(
        f"{path.name} is a TorchScript program: opening it runs code that it holds. If you trust where it comes from, "
        "say so (--trust).",
        hashlib.sha256(_content(path)).hexdigest(),
    )


def convert(path: Path, folder: Path, fingerprint: str | None, shapes: Sequence[tuple[int, ...]]) -> Path:
    """Runs a trusted program once and writes the archive that stands for it from then on.

    Args:
        path: the program.
        folder: where archives are kept; one of the same program is taken as it is.
        fingerprint: of the bytes that are trusted, None for whatever the file holds.
        shapes: of one sample for each input; empty ones are found by trying.

    Raises:
        TrustNeededError: the file holds other bytes than those that are trusted.
        ModelFileError: the program cannot be read or turned into a graph.
        StudioError: the folder cannot be made.
    """
    content = _content(path)  # what is hashed is what is loaded
    found = hashlib.sha256(content).hexdigest()
    if fingerprint not in (None, found):
        refuse_untrusted(path)
    shaped = "-" + "_".join("x".join(map(str, shape)) for shape in shapes) if shapes else ""
    out = folder / f"{found}{shaped}.pt2"
    if not out.is_file():
        try:
            written = _archive(content, shapes)
        except ModelFileError as error:
            raise ModelFileError(f"{path.name}: {error}") from error
        make_folder(folder)
        write_atomically(out, lambda temporary: _fill(temporary, written))
    return out


def check_conversion(path: Path, archive: Path) -> str:
    """The fingerprint of a program and what it became.

    Raises:
        ModelFileError: the archive is another program's.
    """
    found = hashlib.sha256(_content(path)).hexdigest()
    if archive.stem.partition("-")[0] != found:
        raise ModelFileError(f"{path.name} has changed since it was trusted, or {archive.name} is not made of it.")
    return found


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path.name} cannot be read: {error.strerror}.") from error


@torch.no_grad()
def _archive(content: bytes, shapes: Sequence[tuple[int, ...]]) -> bytes:
    with _quiet():
        try:
            program = torch.jit.load(io.BytesIO(content), map_location="cpu").eval()  # type: ignore[no-untyped-call]
        except Exception as error:  # the loader answers a damaged program with whatever its parts raise
            raise ModelFileError(f"the TorchScript program is damaged: {_last_line(error)}") from error
        inputs = _inputs(program, shapes)
        try:
            graph = lift(TS2EPConverter(program, inputs).convert())
            _check(graph, program, inputs)
            free = tuple({0: torch.export.Dim("batch")} for _ in inputs)
            exported = torch.export.export(graph, inputs, dynamic_shapes=free)
            file = io.BytesIO()
            torch.export.save(exported, file)
        except ModelFileError:
            raise
        except Exception as error:  # what the converter raises for what it does not know has no common base
            raise ModelFileError(f"its program cannot be turned into a graph: {_last_line(error)}") from error
    return file.getvalue()


def _check(graph: fx.GraphModule, program: torch.jit.ScriptModule, inputs: tuple[Tensor, ...]) -> None:
    """Holds the graph against the program.

    Raises:
        ModelFileError: it gives other outputs.
    """
    wanted, given = _first(program(*inputs)), _first(graph(*inputs))
    if wanted.shape != given.shape or not torch.allclose(wanted, given, atol=1e-4, rtol=1e-4):
        raise ModelFileError("the graph made of its program gives other outputs than the program itself.")


def _inputs(program: torch.jit.ScriptModule, shapes: Sequence[tuple[int, ...]]) -> tuple[Tensor, ...]:
    """Two samples that the program runs on.

    Raises:
        ModelFileError: it runs on none that was tried.
    """
    weights = dict(program.named_parameters()) | dict(program.named_buffers())
    first = next((weight for weight in weights.values() if weight.dim() > 1), None)
    for candidate in [tuple(shapes)] if shapes else _guesses(first):
        generator = torch.Generator().manual_seed(0)
        inputs = tuple(torch.randn(2, *shape, generator=generator) for shape in candidate)
        try:
            program(*inputs)
        except Exception as error:
            reason = _last_line(error)
        else:
            return inputs
    tried = f": {reason}" if shapes else "; name the shape of one sample (--input-shape 3x32x32)"
    raise ModelFileError(f"its program does not run on random input{tried}.")


def _guesses(weight: Tensor | None) -> Iterator[tuple[tuple[int, ...], ...]]:
    """Shapes of a sample that the first weight suggests."""
    if weight is None:
        return
    channels = weight.shape[1]
    if weight.dim() == 4:
        yield from (((channels, size, size),) for size in _SIZES)
    elif weight.dim() == 3:
        yield from (((channels, size * size),) for size in _SIZES)
    elif weight.dim() == 2:
        yield ((channels,),)
        side = math.isqrt(channels)
        yield ((1, side, side),)


def _first(outputs: object) -> Tensor:
    first = outputs[0] if isinstance(outputs, (tuple, list)) else outputs
    if not isinstance(first, Tensor):
        raise ModelFileError("its program gives no tensor.")
    return first


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the converter's own remarks off the terminal."""
    logger = logging.getLogger("torch._export.converter")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:200].strip()


def _fill(path: Path, content: bytes) -> None:
    path.write_bytes(content)
