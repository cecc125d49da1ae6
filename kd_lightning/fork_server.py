"""Preloaded by a fork server, the process that others are forked from.

A scheduler (Slurm, systemd) that wants a job to end sends SIGTERM to every process of it. The server has nothing to save
and must not go first: whoever has started processes through it would take all of them for dead.

It collects no garbage: what it imports is there to stay (see ``collector``), and is nothing that a forked process need look
at.
"""

import atexit
import gc
import os
import signal
import sys

# How multiprocessing starts its server; nobody else's signals are touched.
if any("from multiprocessing.forkserver import main" in word for word in sys.orig_argv):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    gc.disable()
    os.register_at_fork(before=gc.freeze, after_in_child=gc.enable)
    atexit.register(gc.freeze)  # if it has not forked: who reads the command's output waits until it is gone, too
