"""Which of a graph's values to keep, so that what is not kept is made again at little cost."""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass

#: Values that are made again at less than this share of the graph's mean cost per byte are not kept even where there
#: is room: filling memory with what a ReLU gives takes as long as the ReLU.
WORTH = 0.5


@dataclass(frozen=True)
class Cost:
    """What it takes to make and to keep one value.

    Attributes:
        seconds: to make it from its parents.
        bytes: to keep it.
        parents: names of the values it is made from.
    """

    seconds: float
    bytes: float
    parents: tuple[str, ...]


def choose_cuts(costs: Mapping[str, Cost], allowance: float) -> frozenset[str]:
    """Names of the values to keep in at most `allowance` bytes.

    Starting from all of them, the value that is made again at the least cost per byte is dropped, over and over.
    Whoever needs it then pays for it: its cost is added to that of what is made from it (the heuristic of Dynamic
    Tensor Rematerialization, Kirisame et al. 2021, arXiv:2006.09616). Values of no bytes always stay.

    Args:
        costs: by name, parents first.
        allowance: bytes that may be kept.
    """
    users: dict[str, list[str]] = {name: [] for name in costs}
    for name, cost in costs.items():
        for parent in cost.parents:
            users[parent].append(name)
    seconds = {name: cost.seconds for name, cost in costs.items()}
    kept, held = set(costs), sum(cost.bytes for cost in costs.values())
    least = WORTH * sum(seconds.values()) / held if held else 0.0
    queue = [(seconds[name] / cost.bytes, name) for name, cost in costs.items() if cost.bytes]
    heapq.heapify(queue)
    while queue and (held > allowance or queue[0][0] < least):
        _rate, name = heapq.heappop(queue)
        rate = seconds[name] / costs[name].bytes
        if rate > _rate:  # grown dearer since it was queued
            heapq.heappush(queue, (rate, name))
            continue
        kept.remove(name)
        held -= costs[name].bytes
        for heir in _kept_users(name, users, kept):
            seconds[heir] += seconds[name]
    return frozenset(kept)


def _kept_users(name: str, users: Mapping[str, list[str]], kept: set[str]) -> set[str]:
    """The kept values that are made from `name`, be it by way of others that are not kept."""
    heirs, seen, stack = set[str](), set[str](), [*users[name]]
    while stack:
        user = stack.pop()
        if user in kept:
            heirs.add(user)
        elif user not in seen:
            seen.add(user)
            stack.extend(users[user])
    return heirs
