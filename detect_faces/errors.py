"""The one error that is meant for the user's eyes, and how a command ends with it."""

import os
import sys
from collections.abc import Callable
from typing import NoReturn

EXIT_OK = 0
EXIT_SOME_FAILED = 1  # the rest of the batch is done
EXIT_USAGE = 2  # nothing is done: wrong options, wrong paths, a broken model
EXIT_INTERRUPTED = 130


class UserError(Exception):
    """Something the user can mend. The message is one line: which file (and line), what is wrong, what to do."""


def one_line(text: str) -> str:
    """As it may go to a terminal: control characters, which names of files may have, are escaped.

    >>> print(one_line("a\\nb é"))
    a\\nb é
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def run_command(main: Callable[[], int]) -> NoReturn:
    """Runs `main` and ends the process with its exit code; a UserError becomes one line on stderr and exit code 2."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names need not be UTF-8
    try:
        code = main()
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        code = EXIT_USAGE
    except BrokenPipeError:
        # The reader of our output (head, less) has gone. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_OK
    except OSError as error:  # an output that cannot be written, a full disk; inputs are reported where they are read
        print(f"error: {error.filename or 'output'}: {error.strerror or error}", file=sys.stderr)
        code = EXIT_USAGE
    except MemoryError:
        print("error: there is not enough memory", file=sys.stderr)
        code = EXIT_USAGE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = EXIT_INTERRUPTED
    sys.exit(code)
