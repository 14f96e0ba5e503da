"""Many matrices at once give what each gives alone."""

import threading

import pytest
import torch

from studio.analysis import side_by_side as module
from studio.analysis.side_by_side import side_by_side


@pytest.fixture
def two_threads(monkeypatch):
    """Two threads, for which no work is too little."""
    monkeypatch.setattr(module, "_LITTLE", 0)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def matrices(*rows: int) -> list[torch.Tensor]:
    return [torch.full((count, 2), float(count)) for count in rows]


@pytest.mark.usefixtures("two_threads")
def test_results_come_in_order_and_two_are_under_way_at_a_time():
    both = threading.Barrier(2, timeout=60)  # passed only by two at once

    def count(matrix: torch.Tensor) -> tuple[int, int]:
        both.wait()
        return len(matrix), torch.get_num_threads()

    assert list(side_by_side(matrices(9, 7, 5, 3), count)) == [(9, 1), (7, 1), (5, 1), (3, 1)]
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_a_large_matrix_has_all_threads_to_itself(monkeypatch):
    monkeypatch.setattr(module, "_LARGE", 16)
    main = threading.current_thread()

    def where(matrix: torch.Tensor) -> tuple[bool, int]:
        return threading.current_thread() is main, torch.get_num_threads()

    assert list(side_by_side(matrices(9, 8, 7), where)) == [(True, 2), (True, 2), (False, 1)]


@pytest.mark.usefixtures("two_threads")
def test_what_is_little_in_sum_is_done_by_one_thread_that_needs_no_others(monkeypatch):
    monkeypatch.setattr(module, "_LITTLE", 33)
    main = threading.current_thread()

    def where(matrix: torch.Tensor) -> tuple[bool, int]:
        return threading.current_thread() is main, torch.get_num_threads()

    assert list(side_by_side(matrices(9, 7), where)) == [(True, 1), (True, 1)]  # 32 weights
    assert torch.get_num_threads() == 2
    assert list(side_by_side(matrices(9, 8), where)) == [(False, 1), (False, 1)]  # 34


@pytest.mark.usefixtures("two_threads")
def test_what_was_not_begun_is_given_up_when_nobody_waits_for_it(monkeypatch):
    begun: list[int] = []
    given_up, main, set_threads = threading.Event(), threading.current_thread(), torch.set_num_threads

    def note(matrix: torch.Tensor) -> int:
        begun.append(len(matrix))
        assert len(matrix) == 50 or given_up.wait(60)
        return len(matrix)

    def restore(count: int) -> None:  # happens when the others were given up and those under way are waited for
        set_threads(count)
        if threading.current_thread() is main:
            given_up.set()

    monkeypatch.setattr(torch, "set_num_threads", restore)
    found = side_by_side(matrices(*range(50, 0, -1)), note)
    assert next(found) == 50
    found.close()
    assert set(begun) <= {50, 49, 48}


@pytest.mark.usefixtures("two_threads")
def test_a_single_thread_takes_one_after_the_other():
    main = threading.current_thread()
    torch.set_num_threads(1)  # until the fixture puts back what was
    assert all(side_by_side(matrices(3, 2), lambda _: threading.current_thread() is main))
