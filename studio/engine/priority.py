"""The engine gives way to the window, and what is only looked at to a job, so that nobody waits for a core.

A drag asks for more than two cores: the window draws, the preview measures, and a training may be under way. The
window must not stutter and the training not slow down; the preview takes what is left, which is most of two cores
when there is no job.
"""

import ctypes
import os
import sys

from studio.engine.door import Lane

#: Of 19. A step is worth a quarter, so that of a contested core the window gets three times what a job gets, and the
#: job ten times what the other lanes get.
NICENESS = {Lane.JOB: 5, Lane.LOOK: 15, Lane.MEASURE: 15, Lane.BACKGROUND: 19}

#: Windows' names for processes and threads that run when no ordinary ones want to.
BELOW_NORMAL_PRIORITY_CLASS, THREAD_PRIORITY_BELOW_NORMAL = 0x4000, -1


def give_way() -> None:
    """Lowers this process's priority to that of a job."""
    if sys.platform == "win32":
        kernel = ctypes.windll.kernel32
        kernel.SetPriorityClass(kernel.GetCurrentProcess(), BELOW_NORMAL_PRIORITY_CLASS)
    else:
        os.nice(NICENESS[Lane.JOB])


def give_way_in(lane: Lane) -> None:
    """Lowers the calling thread's priority to that of its lane, where threads have one of their own (not on macOS)."""
    if sys.platform == "win32":
        if lane is not Lane.JOB:
            kernel = ctypes.windll.kernel32
            kernel.SetThreadPriority(kernel.GetCurrentThread(), THREAD_PRIORITY_BELOW_NORMAL)
    elif sys.platform == "linux":
        present = os.getpriority(os.PRIO_PROCESS, 0)
        os.setpriority(os.PRIO_PROCESS, 0, present + NICENESS[lane] - NICENESS[Lane.JOB])
