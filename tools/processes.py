"""Worker processes that end with their parent, however it ends."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import wait

# Started anew, not forked: a fork would share the parent's locks on folders and the threads of its libraries.
CONTEXT = multiprocessing.get_context("spawn")


@contextmanager
def workers(count: int, begin: Callable | None = None, *arguments) -> Iterator[ProcessPoolExecutor]:
    """`count` processes that each call `begin` first. An error or Ctrl-C in the block ends them at once."""
    executor = ProcessPoolExecutor(count, CONTEXT, _begin, (begin, *arguments))
    try:
        yield executor
    except BaseException:
        for process in multiprocessing.active_children():
            process.kill()
        raise
    finally:
        executor.shutdown(cancel_futures=True)


def _begin(begin: Callable | None, *arguments) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its workers
    parent = multiprocessing.parent_process()
    # A parent that is killed with -9 cannot end its workers: they must not write on beside its successor.
    threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()
    if begin:
        begin(*arguments)
