"""Keeps the chatter of native libraries off a command's stderr."""

import os
import sys


def keep_stderr_for_python() -> None:
    """From now on only Python writes to stderr.

    LiteRT says on every start that it made a delegate, and libpng and OpenCV report a damaged image in words of their
    own beside our one line. They write to file descriptor 2 and have no switch for it. For commands, not for libraries:
    it acts on the whole process.
    """
    sys.stderr.flush()
    sys.stderr = open(os.dup(2), "w", buffering=1, encoding=sys.stderr.encoding, errors=sys.stderr.errors)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
