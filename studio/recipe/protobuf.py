"""Sizes of the protobuf messages that an ONNX file consists of, in closed form and without protobuf.

A field is a tag, for texts and messages a length, and the content; numbers are varints of 7 bits a byte
(`encoding <https://protobuf.dev/programming-guides/encoding/>`_). All field numbers used here are below 16 and take
a tag of one byte, but for ``AttributeProto.type``, whose tag takes two.
"""

from collections.abc import Mapping, Sequence

_TAG = 1
_TYPE = 3  # AttributeProto.type: a tag of two bytes and a small number


def varint_size(number: int) -> int:
    """Bytes of a number that is not negative."""
    return max(1, -(-number.bit_length() // 7))


def field_size(content: int) -> int:
    """Bytes of a field that holds `content` bytes: a text, raw data or a message."""
    return _TAG + varint_size(content) + content


def number_size(number: int) -> int:
    """Bytes of a field that holds a number."""
    return _TAG + varint_size(number)


def tensor_size(name: str, shape: Sequence[int], data: int) -> int:
    """Bytes of an initializer of `data` bytes within its graph."""
    dims = sum(number_size(size) for size in shape)
    return field_size(dims + number_size(1) + field_size(len(name.encode())) + field_size(data))


def node_size(
    name: str,
    kind: str,
    inputs: Sequence[str],
    output: str,
    attributes: Mapping[str, int | str | Sequence[int]],
    domain: str = "",
) -> int:
    """Bytes of a node with one output within its graph."""
    told = (domain,) if domain else ()
    texts = sum(field_size(len(text.encode())) for text in (name, kind, *inputs, output, *told))
    return field_size(texts + sum(attribute_size(name, value) for name, value in attributes.items()))


def attribute_size(name: str, value: int | str | Sequence[int]) -> int:
    """Bytes of an attribute within its node: a number, a text or several numbers."""
    if isinstance(value, str):
        content = field_size(len(value.encode()))
    else:
        content = sum(number_size(number) for number in ((value,) if isinstance(value, int) else value))
    return field_size(field_size(len(name)) + content + _TYPE)
