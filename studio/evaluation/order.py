"""In which order samples are measured: at random, yet every beginning balanced over the classes."""

from typing import Any

import numpy as np

from studio.evaluation.arrays import Array


def stratified_order(count: int, labels: Array | None, seed: int) -> Array:
    """All indices ``0..count-1``, such that each class is spread evenly over the order.

    The k-th sample of a class of n (in random order) is given the place ``(k + u) / n`` with u uniform in 0..1, and
    the places are sorted: systematic sampling with a random jitter. A beginning of m samples then holds of each
    class its share of m to within a few samples, so that early blocks vary less than plain random ones.

    Args:
        count: number of samples.
        labels: class of each sample ``[count]``; None for a plain random order.
        seed: the same seed gives the same order.
    """
    random = np.random.default_rng(seed)
    shuffled = random.permutation(count)
    if labels is None:
        return shuffled
    classes = np.asarray(labels)[shuffled]
    place = np.empty(count)
    for value in np.unique(classes):
        members = np.flatnonzero(classes == value)
        place[members] = (np.arange(len(members)) + random.random(len(members))) / len(members)
    ordered: np.ndarray[Any, np.dtype[Any]] = shuffled[np.argsort(place, kind="stable")]
    return ordered
