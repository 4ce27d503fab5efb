"""Actors of which exactly one runs at a time, so that one seed is one run.

Each actor is a thread, because the code under test is written for threads; a baton decides which of them moves. An
actor gives the baton back at `pause`, which the edges call before and after each request. So a process can be stopped
for any time at any step, and a kill is an actor that is never given the baton again, but to unwind.
"""

import threading
from collections.abc import Callable


class Killed(BaseException):
    """The process ended here. No `except Exception` of the code under test sees it, as none sees a real kill."""


class _Carrier(threading.Thread):
    """A thread that carries one actor after the other: starting threads is what would cost most."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.turn = threading.Lock()
        self.turn.acquire()
        self.actor: Actor | None = None
        self.start()

    def run(self) -> None:
        while True:
            self.turn.acquire()
            actor = self.actor
            assert actor is not None
            try:
                actor.body()
            except Killed:
                pass
            except BaseException as error:  # noqa: BLE001 - the check of the run names it
                actor.error = error
            actor.finished = True
            actor.scheduler.turn.release()


_idle: list[_Carrier] = []


class Actor:
    """One thread of a simulated process."""

    def __init__(self, scheduler: "Scheduler", name: str, body: Callable[[], None]) -> None:
        self.scheduler = scheduler
        self.name = name
        self.body = body
        self.dead = False
        self.finished = False
        self.error: BaseException | None = None
        self.where = "at its start"
        self._carrier: _Carrier | None = None

    def run(self) -> None:
        """Let it move until its next pause or its end; called by whoever holds the scheduler."""
        if self.finished:
            return
        if self._carrier is None:
            if self.dead:
                self.finished = True
                return
            self._carrier = _idle.pop() if _idle else _Carrier()
            self._carrier.actor = self
        self.scheduler.running = self
        self._carrier.turn.release()
        self.scheduler.turn.acquire()
        self.scheduler.running = None
        if self.finished:
            _idle.append(self._carrier)
            self._carrier = None

    def pause(self, where: str) -> None:
        """Give the baton back until the scheduler gives it to this actor again; called in the actor's own thread."""
        assert self._carrier is not None
        self.where = where
        self.scheduler.turn.release()
        self._carrier.turn.acquire()
        if self.dead:
            raise Killed

    def kill(self) -> None:
        """End it where it stands: nothing of it acts again."""
        self.dead = True
        self.run()  # it unwinds; its edges do nothing for the dead


class Scheduler:
    """Holds the baton between two moves."""

    def __init__(self) -> None:
        self.turn = threading.Lock()
        self.turn.acquire()
        self.running: Actor | None = None
