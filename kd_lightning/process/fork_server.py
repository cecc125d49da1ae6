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
from functools import partial

# How multiprocessing starts its server; nobody else's signals are touched.
if any("from multiprocessing.forkserver import main" in word for word in sys.orig_argv):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Ctrl-C is for the command and its workers. Blocked, not ignored: whoever is forked takes signals as before.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.register_at_fork(after_in_child=partial(signal.pthread_sigmask, signal.SIG_UNBLOCK, {signal.SIGINT}))
    gc.disable()
    os.register_at_fork(before=gc.freeze, after_in_child=gc.enable)
    atexit.register(gc.freeze)  # if it has not forked: who reads the command's output waits until it is gone, too
