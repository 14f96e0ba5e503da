"""Tables: CSV read line by line, Parquet batch by batch; numbers into one array of floats, text as it is written."""

import csv
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from studio.errors import DataError, did_you_mean, first_line
from studio.evaluation.arrays import Array

#: Endings of tables.
ENDINGS = (".csv", ".tsv", ".parquet")

#: Numbers that are read at most: 400 MB of floats; more belongs into a file that can be mapped.
MOST_NUMBERS = 100_000_000

#: Characters of text that are read at most.
MOST_TEXT = 256 << 20

#: Rows that column kinds are guessed from.
LOOKED_AT = 200

#: What a person without the extra is told.
NEEDS_PARQUET = "reading Parquet takes the extra 'parquet' (the package pyarrow): install it, or save the table as CSV."


@dataclass(frozen=True)
class Table:
    """Numbers of a table.

    Attributes:
        names: of the columns.
        values: ``[rows, columns]`` float32.
        label: cells of the label column as they are written; None without one.
    """

    names: tuple[str, ...]
    values: Array
    label: list[Any] | None


@dataclass(frozen=True)
class TableHead:
    """The first rows of a table.

    Attributes:
        names: of all columns.
        rows: cells as they are written.
    """

    names: tuple[str, ...]
    rows: list[list[Any]]

    def numeric(self) -> tuple[str, ...]:
        """Columns whose cells are all numbers."""
        return tuple(
            name
            for place, name in enumerate(self.names)
            if all(is_number(row[place]) for row in self.rows if len(row) > place)
        )


def read_head(path: Path) -> TableHead:
    """The first rows.

    Raises:
        DataError: the file is no table.
    """
    names, rows = _open(path)
    return TableHead(names, [list(row) for _, row in islice(rows, LOOKED_AT)])


def read_table(path: Path, columns: Sequence[str] | None, label: str | None) -> Table:
    """Reads a table whole.

    Args:
        path: ``.csv`` or ``.tsv`` (commas, semicolons or tabs, with or without a line of headings), or ``.parquet``.
        columns: that make up a sample; None takes all numeric ones but the label.
        label: column of the labels.

    Raises:
        DataError: a column is missing, a cell is no number, or there are too many numbers.
    """
    head = read_head(path)
    if columns is None:
        columns = tuple(name for name in head.numeric() if name != label)
    if not columns:
        raise DataError(f"{path}: has no column of numbers; it has {', '.join(head.names)}.")
    _require(path, head.names, (*columns, *([label] if label else [])))
    _, rows = _open(path)
    places = [head.names.index(name) for name in columns]
    values, labels = array("f"), list[Any]()
    written = dict[Any, Any]()  # equal labels share one object
    for line, row in rows:
        _check_length(path, line, row, head.names)
        if len(values) > MOST_NUMBERS:
            raise DataError(f"{path}: holds more than {MOST_NUMBERS:,} numbers; store them as .npy instead.")
        values.extend(_number(path, line, name, row[place]) for place, name in zip(places, columns, strict=True))
        if label is not None:
            cell = row[head.names.index(label)]
            labels.append(written.setdefault(cell, cell))
    numbers = np.frombuffer(values, np.float32).reshape(-1, len(columns))
    return Table(tuple(columns), numbers, labels if label is not None else None)


@dataclass(frozen=True)
class TextTable:
    """Text columns of a table.

    Attributes:
        rows: of each sample the cells of its columns.
        label: cells of the label column as they are written; None without one.
    """

    rows: list[tuple[str, ...]]
    label: list[Any] | None


def read_text_table(path: Path, columns: Sequence[str], label: str | None) -> TextTable:
    """Reads columns of text whole; an empty cell is an empty text.

    Raises:
        DataError: a column is missing, a line is too short, or there is too much text.
    """
    names, rows = _open(path)
    _require(path, names, (*columns, *([label] if label else [])))
    places, texts, labels, characters = [names.index(name) for name in columns], list[tuple[str, ...]](), list[Any](), 0
    for line, row in rows:
        _check_length(path, line, row, names)
        cells = tuple("" if row[place] is None else str(row[place]) for place in places)
        characters += sum(map(len, cells))
        if characters > MOST_TEXT:
            raise DataError(f"{path}: holds more than {MOST_TEXT:,} characters of text; split it.")
        texts.append(cells)
        if label is not None:
            labels.append(row[names.index(label)])
    return TextTable(texts, labels if label is not None else None)


def _require(path: Path, names: Sequence[str], wanted: Iterable[str]) -> None:
    for name in wanted:
        if name not in names:
            raise DataError(f"{path}: has no column '{name}'; it has {', '.join(names)}.{did_you_mean(name, names)}")


def _check_length(path: Path, line: int, row: Sequence[Any], names: Sequence[str]) -> None:
    if len(row) < len(names):
        raise DataError(f"{path}: line {line} has {len(row)} cells, the first has {len(names)}.")


def label_array(path: Path, cells: Sequence[Any]) -> Array | None:
    """Labels as whole numbers or floats, None when they are words.

    Raises:
        DataError: a cell is empty.
    """
    for place, cell in enumerate(cells):
        if cell is None or cell == "":
            raise DataError(f"{path}: sample {place + 1} has no label.")
    if not all(is_number(cell) for cell in set(cells)):
        return None
    numbers = np.array([float(cell) for cell in cells])
    return numbers.astype(np.int64) if (numbers == np.round(numbers)).all() else numbers.astype(np.float32)


def is_number(cell: Any) -> bool:
    """Whether a cell holds a finite number."""
    try:
        return bool(np.isfinite(float(cell)))
    except (TypeError, ValueError):
        return False


def _number(path: Path, line: int, name: str, cell: Any) -> float:
    if not is_number(cell):
        shown = "is empty" if cell in (None, "") else f"holds {str(cell)[:40]!r}"
        raise DataError(f"{path}: line {line}, column '{name}' {shown}; a number is needed.")
    return float(cell)


def _open(path: Path) -> tuple[tuple[str, ...], Iterator[tuple[int, Sequence[Any]]]]:
    """Names of the columns, and all rows with their line numbers, read as they are asked for."""
    return _open_parquet(path) if path.suffix.lower() == ".parquet" else _open_csv(path)


def _open_csv(path: Path) -> tuple[tuple[str, ...], Iterator[tuple[int, Sequence[Any]]]]:
    lines = _csv_lines(path)
    first = next(lines, None)
    if first is None:
        raise DataError(f"{path}: holds no samples.")
    line, cells = first
    if any(is_number(cell) for cell in cells):  # a line of headings has none
        return tuple(f"column{number + 1}" for number in range(len(cells))), chain([(line, cells)], lines)
    names = tuple(cell.strip() for cell in cells)
    if len(set(names)) < len(names):
        raise DataError(f"{path}: two columns have the same name; columns: {', '.join(names)}.")
    return names, lines


def _csv_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            start = file.readline(1 << 16)
            file.seek(0)
            reader = csv.reader(file, delimiter=max("\t;,", key=start.count))
            yield from ((reader.line_num, row) for row in reader if row)
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: is no table in UTF-8 text: {error}.") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from error


def _open_parquet(path: Path) -> tuple[tuple[str, ...], Iterator[tuple[int, Sequence[Any]]]]:
    try:
        parquet = import_module("pyarrow.parquet")
    except ImportError as error:
        raise DataError(f"{path}: {NEEDS_PARQUET}") from error
    try:
        file = parquet.ParquetFile(path)
        names = tuple(file.schema_arrow.names)
    except (OSError, ValueError) as error:  # pyarrow's own errors are of these kinds
        raise DataError(f"{path}: is no Parquet file: {first_line(error)}.") from error
    return names, enumerate(_parquet_rows(path, file), start=1)


def _parquet_rows(path: Path, file: Any) -> Iterator[Sequence[Any]]:
    try:
        for batch in file.iter_batches(batch_size=4096):
            columns: Iterable[list[Any]] = (column.to_pylist() for column in batch.columns)
            yield from zip(*columns, strict=True)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: is damaged: {first_line(error)}.") from error
