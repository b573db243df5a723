"""Imported first by the fork server from which vLLM's engine core is made: its children end when it ends.

The fork server ends as soon as the replica does, whatever ended the replica. Without this an engine core would
outlive a killed replica, holding its memory, and the next one would not fit beside it.
"""

from __future__ import annotations

import ctypes
import os
import signal

__all__: list[str] = []

_PR_SET_PDEATHSIG = 1  # <sys/prctl.h>
_libc = ctypes.CDLL(None)
_fork_server = os.getpid()


def _end_with_fork_server() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != _fork_server:  # it ended between the fork and the line above
        os._exit(1)


os.register_at_fork(after_in_child=_end_with_fork_server)
