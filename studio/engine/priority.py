"""The engine's processes give way to the window's, so that an event never waits for a core."""

import ctypes
import os
import sys

#: Of 19; at ten a busy engine leaves nine tenths of a contested core to the window and takes all of a free one.
NICENESS = 10

#: Windows' name for a process that runs when no ordinary one wants to.
BELOW_NORMAL_PRIORITY_CLASS = 0x4000


def give_way() -> None:
    """Lowers this process's priority, and that of whatever it starts; it cannot be raised again."""
    if sys.platform == "win32":
        kernel = ctypes.windll.kernel32
        kernel.SetPriorityClass(kernel.GetCurrentProcess(), BELOW_NORMAL_PRIORITY_CLASS)
    else:
        os.nice(NICENESS)
