"""The last few things made, so that what is dear is made once."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import TypeVar, cast

Made = TypeVar("Made")


class Memory:
    """The last few things made, by key; two callers that want the same one make it once."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._made: OrderedDict[Hashable, object] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What `make` gave for `key`, made now if it is not remembered; what raises is not remembered."""
        with self._lock:
            if key not in self._made:
                self._made[key] = make()
                while len(self._made) > self._size:
                    self._made.popitem(last=False)
            self._made.move_to_end(key)
            return cast("Made", self._made[key])
