"""How far a command is: one line on stderr that is written over, where a person looks at it."""

import sys
import time

SECONDS = 0.2  # between two updates


class Progress:
    """Counts what is done. Shown when stderr is a terminal and the results go elsewhere; else it says nothing."""

    def __init__(self, total: int | None):
        """Counts up to `total`; None where nobody knows."""
        self._total = total
        self._shown = sys.stderr.isatty() and not sys.stdout.isatty()
        self._start = self._last = time.monotonic()
        self._done = self._faces = 0
        self._on_screen = False

    def add(self, faces: int) -> None:
        """An image more, with so many faces."""
        self._done += 1
        self._faces += faces
        now = time.monotonic()
        if self._shown and now - self._last >= SECONDS:
            self._last = now
            of = f" of {self._total}" if self._total else ""
            rate = self._done / (now - self._start)
            print(f"\r{self._done}{of} done, {self._faces} faces, {rate:.1f}/s\x1b[K", end="", file=sys.stderr)
            sys.stderr.flush()
            self._on_screen = True

    def clear(self) -> None:
        """Takes the line away, before something else is written there."""
        if self._on_screen:
            print("\r\x1b[K", end="", file=sys.stderr)
            sys.stderr.flush()
            self._on_screen = False
