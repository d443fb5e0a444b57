"""Lines for people go to stderr; stdout is for what programs read."""

import sys

from tqdm import tqdm


def say(message: object) -> None:
    """Prints a line, or several, at once; above a progress bar where there is one."""
    tqdm.write(str(message), file=sys.stderr)
    sys.stderr.flush()
