"""Reads and decodes images in threads beside the network, in order, with a bound on what waits in memory."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from detect_faces.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")

# What the first step gives: bytes of memory that the second takes, and the second.
Prepared = tuple[int, Callable[[], Result]]


@dataclass(eq=False)
class _Job(Generic[Item]):
    item: Item
    number: int
    started: float = field(default_factory=time.monotonic)
    need: int = 0
    in_line: bool = False  # for memory, which does not count against its time
    done: bool = False
    given_up: bool = False
    result: object = None
    error: BaseException | None = None


class Ahead(Generic[Item, Result]):
    """For each item its result or its UserError, in the order of the items, while threads work on the next ones.

    An item is worked on in two steps. `prepare(item)` reads it and says how many bytes of memory it will take to
    decode; it gets them in the order of the items, when those before have left enough of the budget, or alone if it
    takes more than all of it. The caller has done with a result when it asks for the next one.
    """

    def __init__(
        self,
        items: Iterable[Item],
        prepare: Callable[[Item], Prepared],
        *,
        threads: int = 1,
        results: int = 4,
        budget: int = 256_000_000,
        seconds: float = 60.0,
    ):
        """Starts nothing yet.

        Args:
            items: taken one by one, as there is room for them.
            prepare: the first step; may raise UserError, as the second may.
            threads: that work on items.
            results: at most so many items are being worked on or wait for the caller.
            budget: bytes.
            seconds: after so many on one item the caller gets an error for it. Its thread cannot be stopped: it goes on
                until it comes to an end, and its result is dropped.
        """
        self._items = iter(items)
        self._prepare = prepare
        self._threads = threads
        self._results = results
        self._budget = budget
        self._seconds = seconds
        self._changed = threading.Condition()
        self._taking = threading.Lock()
        self._jobs: dict[int, _Job] = {}  # that the caller has not done with, by number
        self._next_number = 0
        self._turn = 0  # of the job that gets memory next
        self._past: set[int] = set()  # jobs after it that need none any more
        self._used = 0
        self._ended = False  # no more items
        self._stopped = False
        self._started = False
        self._running: list[threading.Thread] = []
        self._broken: BaseException | None = None  # what the iterator of items raised

    def start(self) -> None:
        """Begins with the first items, before anybody asks for their results."""
        if not self._started:
            self._started = True
            for _ in range(self._threads):
                self._start_thread()

    def __iter__(self) -> Iterator[tuple[Item, Result | UserError]]:
        self.start()
        try:
            number = 0
            while (job := self._wait_for(number)) is not None:
                if isinstance(job.error, UserError):
                    result = job.error
                elif job.error:
                    raise job.error
                else:
                    result, job.result = job.result, None
                yield job.item, result
                del result
                self._forget(job)
                number += 1
        finally:
            self._stop()

    def close(self, seconds: float = 10.0) -> None:
        """Waits until no thread works on an item any more, but no longer than so many seconds for each."""
        self._stop()
        for thread in self._running:
            thread.join(seconds)

    def _stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._work, daemon=True)
        self._running.append(thread)
        thread.start()

    def _wait_for(self, number: int) -> _Job | None:
        """The job of this number when it is done or its time is up; None at the end of the items."""
        with self._changed:
            while True:
                job = self._jobs.get(number)
                if job is None:
                    if self._broken:
                        raise self._broken
                    if self._ended and number >= self._next_number:
                        return None
                    self._changed.wait()
                    continue
                if job.done:
                    return job
                left = None if job.in_line else job.started + self._seconds - time.monotonic()
                if left is not None and left <= 0:
                    job.given_up = True
                    job.error = UserError(f"{job.item}: takes longer than the limit of {self._seconds:g} s")
                    self._used -= job.need  # its memory is still taken, but nobody may have to wait for it
                    self._pass_turn(job)
                    self._start_thread()  # in place of the one that is stuck
                    return job
                self._changed.wait(left)

    def _forget(self, job: _Job) -> None:
        with self._changed:
            del self._jobs[job.number]
            if not job.given_up:
                self._used -= job.need
            self._changed.notify_all()

    def _pass_turn(self, job: _Job) -> None:
        """The job gets no memory, or has it."""
        if job.number >= self._turn:
            self._past.add(job.number)
        while self._turn in self._past:
            self._past.remove(self._turn)
            self._turn += 1
        self._changed.notify_all()

    def _work(self) -> None:
        while (job := self._take()) is not None:
            try:
                need, finish = self._prepare(job.item)
                if self._reserve(job, need):
                    job.result = finish()
            except BaseException as error:  # the caller's thread is the one to raise it
                job.error = job.error or error
            finish = None
            with self._changed:
                job.done = True
                self._pass_turn(job)
                if job.given_up:  # another thread has taken this one's place
                    return

    def _take(self) -> _Job | None:
        """The next item; None when there is none, or nobody wants it."""
        with self._taking:
            with self._changed:
                while len(self._jobs) >= self._results and not self._stopped:
                    self._changed.wait()
                if self._stopped or self._ended:
                    return None
            # Not under the condition: whoever lists the items may have to wait for them, and results go on meanwhile.
            try:
                item = next(self._items)
            except StopIteration:
                ended = True
            except BaseException as error:
                self._broken = error
                ended = True
            else:
                ended = False
            with self._changed:
                self._changed.notify_all()
                if ended:
                    self._ended = True
                    return None
                job = _Job(item, self._next_number)
                self._jobs[job.number] = job
                self._next_number += 1
                return job

    def _reserve(self, job: _Job, need: int) -> bool:
        """Waits for the job's turn and memory; False when nobody wants it any more."""
        with self._changed:
            start, job.in_line = time.monotonic(), True
            while not (self._turn == job.number and (not self._used or self._used + need <= self._budget)):
                if self._stopped:
                    return False
                self._changed.wait()
            job.in_line = False
            job.started += time.monotonic() - start
            if self._stopped or job.given_up:
                return False
            job.need = need
            self._used += need
            self._pass_turn(job)
            return True
