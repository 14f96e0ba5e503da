"""What errors of other libraries come to in a line of ours."""

import pytest

from studio.errors import first_line


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("no such operator\n  at node 3"), "no such operator"),
        (ValueError("\n  indented\nmore"), "indented"),
        (AssertionError(), "AssertionError"),
    ],
)
def test_an_error_is_told_by_its_first_line_or_else_by_its_kind(error: Exception, told: str):
    assert first_line(error) == told
