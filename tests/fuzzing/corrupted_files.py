"""Damaged files of every kind are opened, each either as well as before or with one clear line.

    python tests/fuzzing/corrupted_files.py                    # 500 of each format
    python tests/fuzzing/corrupted_files.py --count 50 --formats onnx pt2 --seed 7

Every file is a good one with some bytes cut off, turned, copied elsewhere, or made to lie about a size or a depth; of
archives also what they hold, under a right checksum. Files are opened in a process of their own, which is watched:
what ends it, takes longer than the limit, raises anything but a `StudioError`, or fails with more than one line or
without the file's name is a fault. Programs that somebody has trusted run in an engine's worker, as in the window: one
that ends the worker has to be told of like any other damage. The seed names each file again: ``--only 17`` opens that
one alone, here.
"""

import argparse
import io
import json
import multiprocessing
import os
import random
import sys
import traceback
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from processes import peak_memory, seconds_of
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file
from torch import nn

from studio.engine.process import ProcessEngine
from studio.engine.requests import OpenModel, TrustProgram
from studio.errors import StudioError, TrustNeededError
from studio.evaluation.data import open_data, open_described
from studio.evaluation.description import DataDescription
from studio.models.open import open_model
from studio.recipe.files import load_recipe
from studio.session.autosave import Autosave
from studio.session.variants import Variants

#: Seconds that a file may take: of the processor where the system tells them, as it may have other work to do.
LIMIT = 10.0

#: Seconds that a file may wait for something, and those between two looks at it.
WAITING, GLANCE = 120.0, 0.2

#: Seconds that the process may take to write the good files.
STARTING = 600.0

RECIPE = """studio: 1
default: {quantize: {weight_bits: 8, granularity: channel}}
kinds:
  linear: {quantize: {weight_bits: 4, granularity: group, group_size: 16}}
layers:
  "stage3.*": {rank: {energy: 0.9}}
  conv: {prune: {kind: n_m, n: 2, m: 4}}
options: {data_aware: true, fit: sequential, calibration_samples: 512, seed: 0}
"""
DATA = """source: rows.npz
input: x
label: y
kind: image
layout: NHWC
scale: 255
mean: [0.485, 0.456, 0.406]
std: [0.229, 0.224, 0.225]
metric: top1
"""
TABLE = "source: rows.csv\nkind: table\ninput: [a, b]\nlabel: c\n"
PROJECT = {
    "studio_project": 1,
    "model": __file__,
    "steps": [{"label": "Open", "recipe": {"studio": 1, "layers": {"conv": {"keep": True}}}}],
    "cursor": 0,
}


class Network(nn.Module):
    """A convolution and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(2, 4, 3, padding=1), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Class scores ``[batch, 3]`` of ``[batch, 2, 6, 6]``."""
        return self.head(torch.relu(self.conv(x)).mean((2, 3)))


def write_onnx(path: Path) -> None:
    """A network with the operators that most files have."""
    draw = np.random.default_rng(0)
    shapes = {"conv.weight": (4, 2, 3, 3), "conv.bias": (4,), "head.weight": (3, 16), "head.bias": (3,)}
    constants = {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    nodes = [
        helper.make_node("Conv", ["x", "conv.weight", "conv.bias"], ["a"], pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MaxPool", ["b"], ["c"], kernel_shape=[3, 3], strides=[3, 3]),
        helper.make_node("Reshape", ["c", "sizes"], ["d"]),
        helper.make_node("Gemm", ["d", "head.weight", "head.bias"], ["y"], transB=1),
    ]
    held = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    held.append(numpy_helper.from_array(np.array([0, -1], dtype=np.int64), "sizes"))
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2, 6, 6])]
    found = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])]
    graph = helper.make_graph(nodes, "net", given, found, held)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)


def write_pt2(path: Path) -> None:
    """A network as ``torch.export`` saves it."""
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(Network().eval(), (torch.zeros(2, 2, 6, 6),), dynamic_shapes=({0: batch},))
    torch.export.save(program, path)


def write_script(path: Path) -> None:
    """A network as a TorchScript program."""
    torch.jit.save(torch.jit.trace(Network().eval(), torch.zeros(2, 2, 6, 6)), path)


def write_shards(path: Path) -> None:
    """Weights in two files, and their index."""
    state = Network().state_dict()
    shards = {name: "a.safetensors" if name.startswith("conv") else "b.safetensors" for name in state}
    for file in set(shards.values()):
        save_file({name: value for name, value in state.items() if shards[name] == file}, path.with_name(file))
    path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": shards}), encoding="utf-8")


def open_file(path: Path) -> object:
    """A model, whatever its format."""
    return open_model(path)


def open_script(path: Path) -> object:
    """A program that nobody has trusted: to be asked for trust is as far as it goes."""
    try:
        return open_model(path)
    except TrustNeededError:
        return "asked"


@cache
def engine() -> ProcessEngine:
    """The worker that trusted programs run in; another one starts where a program ends it."""
    return ProcessEngine(threads=1)


def open_trusted(path: Path) -> object:
    """A program that somebody has trusted, turned into an archive."""
    archive = engine().start(TrustProgram(str(path), str(path.parent / "trusted"), shapes=((2, 6, 6),))).result()
    return engine().start(OpenModel(str(path), archive)).result()


def write_unbuilt(path: Path) -> None:
    """A network with a loop, which the studio does not build and ONNX Runtime runs."""
    weight = numpy_helper.from_array(np.random.default_rng(0).normal(size=(6, 6)).astype(np.float32), "head.weight")
    values = [("step", TensorProto.INT64, []), ("go", TensorProto.BOOL, []), ("h", TensorProto.FLOAT, None)]
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["on"]),
            helper.make_node("Gemm", ["h", "head.weight"], ["next"], transB=1),
        ],
        "body",
        [helper.make_tensor_value_info(*value) for value in values],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, None),
        ],
    )
    numbers = {"times": np.array(2, np.int64), "true": np.array(True)}
    constants = [weight, *(numpy_helper.from_array(value, name) for name, value in numbers.items())]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 6]) for name in "xy"]
    loop = helper.make_node("Loop", ["times", "true", "x"], ["y"], body=body)
    graph = helper.make_graph([loop], "net", ends[:1], ends[1:], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)


def open_recipe(path: Path) -> object:
    """A recipe."""
    return load_recipe(path)


def open_arrays(path: Path) -> object:
    """Data: every sample is read."""
    description = path if path.name.endswith(".yaml") else path.with_name("rows.data.yaml")
    data = open_data(description)
    return data.inputs(np.arange(len(data)))


def open_project(path: Path) -> object:
    """A saved project; one that cannot be read is none."""
    return Autosave(path, Variants(), lambda action: action(), print).read()


def write_arrays(path: Path) -> None:
    """Images with labels, and their description."""
    rows = np.random.default_rng(0).integers(0, 255, (6, 4, 4, 3), dtype=np.uint8)
    np.savez(path.with_name("rows.npz"), x=rows, y=np.arange(6))
    path.with_name("rows.data.yaml").write_text(DATA, encoding="utf-8")


def write_table(path: Path) -> None:
    """Numbers with classes, and their description."""
    rows = "".join(f"{n},{n / 8},{n % 3}\n" for n in range(40))
    path.with_name("rows.csv").write_text("a,b,c\n" + rows, encoding="utf-8")
    path.with_name("rows.data.yaml").write_text(TABLE, encoding="utf-8")


def write_image(path: Path) -> None:
    """A picture in the folder of its class, and the description of the folder around it."""
    pixels = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    for name in ("cat", "dog"):
        (path.parent / "set" / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path.parent / "set" / name / "1.png")
    Image.fromarray(pixels).save(path)


def open_image(path: Path) -> object:
    """The folder with the damaged picture in it, which stands beside it so that its name can be told."""
    described = DataDescription(source="set", kind="image", crop=8)
    (path.parent / "set" / "cat" / path.name).write_bytes(path.read_bytes())
    data = open_described(path.parent / "set.data.yaml", described)
    return data.inputs(np.arange(len(data)))


@dataclass(frozen=True)
class Format:
    """One kind of file.

    Attributes:
        name: of the file.
        write: makes a good one.
        open: as the program does.
        silent: whether a damaged file is passed over instead of refused.
    """

    name: str
    write: Callable[[Path], object]
    open: Callable[[Path], object]
    silent: bool = False


FORMATS: Mapping[str, Format] = {
    "onnx": Format("net.onnx", write_onnx, open_file),
    "onnx, not built": Format("net.onnx", write_unbuilt, open_file),
    "pt2": Format("net.pt2", write_pt2, open_file),
    "safetensors": Format("net.safetensors", lambda path: save_file(Network().state_dict(), path), open_file),
    "state dict": Format("net.pth", lambda path: torch.save({"state_dict": Network().state_dict()}, path), open_file),
    "index of shards": Format("m.safetensors.index.json", write_shards, open_file),
    "TorchScript": Format("net.pt", write_script, open_script),
    "TorchScript, trusted": Format("net.pt", write_script, open_trusted),
    "recipe": Format("my.recipe.yaml", lambda path: path.write_text(RECIPE, encoding="utf-8"), open_recipe),
    "description": Format("rows.data.yaml", write_arrays, open_arrays),
    "arrays": Format("rows.npz", write_arrays, open_arrays),
    "table": Format("rows.csv", write_table, open_arrays),
    "image": Format("9.png", write_image, open_image),
    "project": Format("autosave.json", lambda path: path.write_text(json.dumps(PROJECT)), open_project, silent=True),
}


def truncated(content: bytes, draw: random.Random) -> bytes:
    """Cut off somewhere."""
    return content[: draw.randrange(len(content))]


def flipped(content: bytes, draw: random.Random) -> bytes:
    """A few bits turned."""
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 8, 64))):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def spliced(content: bytes, draw: random.Random) -> bytes:
    """A piece copied over another place, or put in between."""
    start, length, place = draw.randrange(len(content)), draw.randrange(1, 200), draw.randrange(len(content))
    piece = content[start : start + length]
    return content[:place] + piece + content[place + draw.choice((0, len(piece))) :]


def oversized(content: bytes, draw: random.Random) -> bytes:
    """A number made huge: digits in text, eight bytes or a varint elsewhere."""
    place = draw.randrange(len(content))
    huge = draw.choice((b"99999999999999999", b"-1", b"\xff" * 8, b"\xff\xff\xff\xff\xff\xff\xff\x7f", b"1e400"))
    digits = [index for index, byte in enumerate(content[:4096]) if chr(byte).isdigit()]
    if digits and draw.random() < 0.5:
        place = draw.choice(digits)
        return content[:place] + huge + content[place + 1 :]
    return content[:place] + huge + content[place + len(huge) :]


def nested(content: bytes, draw: random.Random) -> bytes:
    """Brackets, or messages in messages, thousands deep."""
    place = draw.randrange(len(content))
    deep = draw.choice(
        (b"[" * 20_000, b"{a: " * 5_000, b'{"a":' * 5_000, b"\x3a\x7f" * 2_000, b"(" * 20_000, b"&a *a ")
    )
    return content[:place] + deep + content[place:]


DAMAGES = (truncated, flipped, flipped, spliced, oversized, nested)


def damaged(content: bytes, seed: str) -> bytes:
    """The same damage for the same seed; of archives half of the time to one of their members."""
    draw = random.Random(seed)
    how = draw.choice(DAMAGES)
    if not zipfile.is_zipfile(io.BytesIO(content)) or draw.random() < 0.5:
        return how(content, draw)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    victim = draw.choice([name for name, held in members.items() if held])
    members[victim] = how(members[victim], draw)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, held in members.items():
            archive.writestr(name, held)
    return packed.getvalue()


def outcome(one: Format, path: Path) -> str:
    """``opened``, ``refused``, or ``fault: …`` with what went wrong."""
    try:
        opened = one.open(path)
    except StudioError as error:
        message = str(error)
        if "\n" in message.strip() or "Traceback" in message:
            return f"fault: more than one line: {message[:200]!r}"
        named = path.name in message or str(path.parent) in message  # or the file that it asks for
        return "refused" if named else f"fault: does not name the file: {message[:200]}"
    except BaseException as error:  # whatever else comes out is what is looked for
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"fault: {type(error).__name__} at {Path(place.filename).name}:{place.lineno}: {str(error)[:160]}"
    return "refused" if one.silent and opened is None else "opened"


def work(jobs: Sequence[tuple[str, int]], seed: int, tell: Connection) -> None:
    """Opens damaged files, each a format and a number, and tells of each before and after."""
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        good = dict[str, bytes]()
        for name in sorted({name for name, _number in jobs}):
            one = FORMATS[name]
            (Path(folder) / name).mkdir()
            torch.manual_seed(0)
            one.write(path := Path(folder) / name / one.name)
            good[name] = path.read_bytes()
            if (found := outcome(one, path)) != "opened":
                raise SystemExit(f"{name}: the good file does not open: {found}")
        for name, number in jobs:
            one, path = FORMATS[name], Path(folder) / name / FORMATS[name].name
            path.write_bytes(damaged(good[name], f"{seed} {name} {number}"))
            tell.send(("begun", peak_memory(), seconds_of(os.getpid())))
            tell.send((outcome(one, path), peak_memory(), seconds_of(os.getpid())))
    tell.close()


def heard_in_time(hear: Connection, process: int, begun: float | None) -> bool:
    """Waits for what a process has to tell; whether it does within the limits.

    Args:
        hear: where it is told.
        process: its number.
        begun: what `seconds_of` told when it began with a file, None before the first.
    """
    for _ in range(int((STARTING if begun is None else WAITING) / GLANCE)):  # not by the clock: both may be held up
        if hear.poll(GLANCE):
            return True
        if begun is not None and seconds_of(process) - begun > LIMIT:
            return False
    return False


def watched(names: Sequence[str], seed: int, count: int) -> list[dict[str, Any]]:
    """Opens all files of some formats; a process that dies or hangs is replaced."""
    context = multiprocessing.get_context("spawn")
    jobs = [(name, number) for name in names for number in range(count)]
    outcomes: list[str] = []
    grown, slowest = dict.fromkeys(names, 0), dict.fromkeys(names, 0.0)
    while len(outcomes) < len(jobs):
        hear, tell = context.Pipe(duplex=False)
        process = context.Process(target=work, args=(jobs[len(outcomes) :], seed, tell))
        process.start()
        tell.close()
        begun, before = None, 0
        try:
            while heard_in_time(hear, process.pid or 0, begun):
                what, peak, used = hear.recv()
                if what == "begun":
                    begun, before = used, peak
                    continue
                name = jobs[len(outcomes)][0]
                slowest[name] = max(slowest[name], used - (begun or 0.0))
                grown[name] += max(0, peak - before)
                outcomes.append(what)
            outcomes.append(f"fault: takes longer than {LIMIT:.0f} s")
        except EOFError:
            if begun is None:
                raise SystemExit("The process that opens files ended before the first.") from None
            if len(outcomes) < len(jobs):
                outcomes.append("fault: the process died")
        process.kill()
        process.join()
    found = dict(zip(jobs, outcomes, strict=True))
    return [
        {
            "format": name,
            "opened": sum(what == "opened" for (of, _), what in found.items() if of == name),
            "refused": sum(what == "refused" for (of, _), what in found.items() if of == name),
            "faults": {str(n): what for (of, n), what in found.items() if of == name and what.startswith("fault")},
            "slowest_seconds": round(slowest[name], 2),
            "grown_megabytes": round(grown[name] / 2**20),
        }
        for name in names
    ]


def main() -> int:
    """Prints a table, or JSON; 1 when there is a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500, help="files of each format")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--formats", nargs="*", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--only", type=int, help="open this file alone, in this process, and show what happens")
    given = parser.parse_args()
    if given.only is not None:
        (name,) = given.formats
        with TemporaryDirectory() as folder:
            path = Path(folder) / FORMATS[name].name
            torch.manual_seed(0)
            FORMATS[name].write(path)
            path.write_bytes(damaged(path.read_bytes(), f"{given.seed} {name} {given.only}"))
            sys.stdout.write(f"{FORMATS[name].open(path)}\n")
        return 0
    found = watched(given.formats, given.seed, given.count)
    if given.json:
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        table = Table("format", "opened", "refused", "faults", "slowest", "memory grew by")
        for row in found:
            last = (f"{row['slowest_seconds']} s", f"{row['grown_megabytes']} MB")
            table.add_row(row["format"], str(row["opened"]), str(row["refused"]), str(len(row["faults"])), *last)
        Console().print(table)
        for row in found:
            for number, what in row["faults"].items():
                sys.stdout.write(f"{row['format']} {number}: {what}\n")
    return 1 if any(row["faults"] for row in found) else 0


if __name__ == "__main__":
    sys.exit(main())
