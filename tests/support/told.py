"""A command that tells what it has found at its start: ``python -m tests.support.told WORDS``."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import threading


def main() -> int:
    found = {
        "words": sys.argv,
        "cwd": os.getcwd(),
        "environ": sorted(os.environ),
        "handlers": [str(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)],
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "session": os.getsid(0) == os.getpid() == os.getpgid(0),
        "parent": str(multiprocessing.parent_process()),
        "daemon": multiprocessing.current_process().daemon,
        "threads": threading.active_count(),
        "encodings": [sys.stdout.encoding, sys.stderr.encoding, sys.stderr.errors],
    }
    print(json.dumps(found))
    print("an error", file=sys.stderr)
    return 3


if __name__ == "__main__":
    sys.exit(main())
