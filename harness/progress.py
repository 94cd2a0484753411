"""Progress of long work: a bar on a terminal; in a log, a line from time to time.

A log gets its first line after `FIRST` seconds and one every `EVERY` seconds from then on, so short work stays silent:

    querying: 1,280 of 5,000 answers (26 %), 42.1/s, 1 min 28 s left; 3 unparsable; Acc@0.5 61.2 [58, 64]

The numbers after the semicolon come from the caller and go to the trackers as well (`harness.tracking`), with the rate.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any, TypeVar

from tqdm import tqdm

from harness import tracking
from harness.sinks import line

FIRST, EVERY = 5.0, 30.0  # seconds
T = TypeVar("T")
Numbers = Mapping[str, float]  # an int is a count: "3 failed"; a float is a value: "loss 0.25"
log = logging.getLogger(__name__)


def no_numbers() -> Numbers:
    """No numbers."""
    return {}


class Progress:
    """The progress of work on `total` units, of which `done` are done; use it in a `with` statement.

    `total` is None where it is not known; there is no time left then.  The unit "B" is bytes, shown as kB, MB or GB.
    Several threads may call `update`.

    `numbers()` is called when a line is due; `tracked` sends the numbers to the trackers.  `leave` keeps the bar on the
    terminal when the work has ended.  Work that is not `enabled` shows nothing, as in the second process of a training.
    """

    def __init__(
        self,
        name: str,
        total: int | None,
        *,
        done: int = 0,
        unit: str = "steps",
        numbers: Callable[[], Numbers] = no_numbers,
        tracked: bool = False,
        enabled: bool = True,
        leave: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self.total, self.done, self.unit = line(name), total, done, unit
        self._numbers, self._tracked, self._enabled, self._clock = numbers, tracked, enabled, clock
        self._start = self._last = clock()
        self._first = self._before = done
        self._due = self._start + FIRST
        self._said = False
        self._lock, self._context = threading.Lock(), copy_context()  # the trackers are those of the thread that began
        self._bar: tqdm[Any] = tqdm(
            desc=self.name, total=total, initial=done, leave=leave, disable=None if enabled else True,
            unit=unit if unit == "B" else f" {unit}", unit_scale=unit == "B",
        )  # fmt: skip
        self._in_log = self._bar.disable

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        if self._said and self._in_log:
            log.info("%s", self._line(self._clock() - self._start, self.done - self._first, {}, ended=True))

    def update(self, units: int = 1) -> None:
        """More units are done; a negative number of units is to be done again."""
        with self._lock:
            self.done += units
            self._bar.update(units)
            if self._enabled and (now := self._clock()) >= self._due:
                self._report(now)

    def write(self, text: str) -> None:
        """Prints a line beside the bar, or as a line of the log."""
        self._bar.write(line(text), file=sys.stderr)

    def _report(self, now: float) -> None:
        numbers = self._numbers()
        if self._in_log:
            log.info("%s", self._line(now - self._last, self.done - self._before, numbers))
        else:
            self._bar.set_postfix_str(line(said(numbers)))
        if self._tracked:
            rate = (self.done - self._before) / max(now - self._last, 1e-9)
            self._context.run(tracking.log, {"rate": rate, **numbers}, self.done)
        after = self._clock()
        self._last, self._before, self._said = now, self.done, True
        self._due = max(now + EVERY, after + 50 * (after - now))  # at most 2 % of the time goes into numbers

    def _line(self, seconds: float, units: int, numbers: Numbers, ended: bool = False) -> str:
        rate = units / max(seconds, 1e-9)
        if self.total is None:
            parts = [self._amount(self.done)]
        else:
            whole = self._amount(self.total)
            done = self._amount(self.done) if self.unit == "B" else f"{self.done:,}"
            parts = [f"{done} of {whole} ({100 * self.done / max(self.total, 1):.0f} %)"]
        parts += [f"in {duration(seconds)}"] * ended
        parts.append(f"{self._amount(round(rate))}/s" if self.unit == "B" else f"{rate:.3g}/s")
        if not ended and rate > 0 and self.total is not None:
            parts.append(f"{duration(max(self.total - self.done, 0) / rate)} left")
        return line(f"{self.name}: {', '.join(parts)}" + (f"; {said(numbers)}" if numbers else ""))

    def _amount(self, units: int) -> str:
        """A number of units, as "1,280 answers" and "1.28GB"."""
        return str(tqdm.format_sizeof(units, "B")) if self.unit == "B" else f"{units:,} {self.unit}"


def over(items: Iterable[T], name: str, *, unit: str, total: int | None = None) -> Iterator[T]:
    """The items, with their progress; `total` is their number where they have no length (None: not known)."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with Progress(name, total, unit=unit, leave=False) as progress:
        for item in items:
            yield item
            progress.update()


@contextmanager
def counted(name: str, unit: str) -> Iterator[Callable[[int], None]]:
    """A function that takes how many units are done so far, and shows them; a smaller number begins a new series."""
    with Progress(name, None, unit=unit) as progress:
        before = 0

        def tick(done: int) -> None:
            nonlocal before
            progress.update(done - before if done >= before else done)
            before = done

        yield tick


def said(numbers: Numbers) -> str:
    """The numbers in words, without counts of 0: `3 unparsable, 1 truncated; Acc@0.5 61.2 [58.9, 63.4]`.

    A value is followed by its interval where the numbers have "NAME low" and "NAME high" as well.
    """
    counts = [f"{value:,} {name}" for name, value in numbers.items() if isinstance(value, int) and value]
    bounds = {f"{name} {bound}" for name in numbers for bound in ("low", "high")}
    values = []
    for name, value in numbers.items():
        if not isinstance(value, int) and name not in bounds:
            low, high = numbers.get(f"{name} low"), numbers.get(f"{name} high")
            interval = "" if low is None or high is None else f" [{low:.4g}, {high:.4g}]"
            values.append(f"{name} {value:.4g}{interval}")
    return "; ".join(filter(None, (", ".join(counts), ", ".join(values))))


def duration(seconds: float) -> str:
    """A time in its two largest units: `45 s`, `1 min 28 s`, `3 h 20 min`, `2 d 4 h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(whole / 60)
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    hours = round(minutes / 60)
    return f"{hours // 24} d {hours % 24} h"
