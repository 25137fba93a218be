#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Traces a stopped process of a container from the time at which its migration is prepared until it is frozen, and
lets go of it when it gets no processor for half a second.

usage: tracer.py PID JOURNAL CGROUP
"""
import ctypes
import os
import pathlib
import select
import sys
import time

CONT, DETACH, SEIZE, INTERRUPT = 7, 17, 0x4206, 0x4207  # linux/ptrace.h
WALL = 0x40000000  # linux/wait.h
HOG_S = 0.5
PATIENCE_S = 20

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long] * 4


def ptrace(how, pid):
    if libc.ptrace(how, pid, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), f"ptrace({how:#x})")


def hold(pid):
    """Interrupted, once for its stop and once for our interrupt."""
    ptrace(SEIZE, pid)
    ptrace(INTERRUPT, pid)
    os.waitpid(pid, WALL)
    ptrace(CONT, pid)
    os.waitpid(pid, WALL)


def hog(cpu):
    """A child that keeps the processor for itself."""
    if os.fork() != 0:
        return
    os.sched_setaffinity(0, {cpu})
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    end = time.monotonic() + HOG_S
    while time.monotonic() < end:
        pass
    os._exit(0)


def wait_for_entry(journal):
    end = time.monotonic() + PATIENCE_S
    while not any(pathlib.Path(journal).glob("*")):
        if time.monotonic() > end:
            sys.exit("no entry in the journal")
        time.sleep(0.001)


class Events:
    """What cgroup.events tells. A freeze in which something is in the way is over before it can be read."""

    def __init__(self, cgroup):
        self.file = open(f"{cgroup}/cgroup.events", encoding="ascii")
        self.file.read()
        self.poll = select.poll()
        self.poll.register(self.file, select.POLLPRI)

    def wait(self):
        if not self.poll.poll(PATIENCE_S * 1000):
            sys.exit("no freeze")


def main(pid, journal, cgroup):
    cpu = min(os.sched_getaffinity(0))
    events = Events(cgroup)
    wait_for_entry(journal)
    hold(pid)
    os.sched_setaffinity(pid, {cpu})
    events.wait()
    hog(cpu)
    time.sleep(0.05)
    ptrace(DETACH, pid)


main(int(sys.argv[1]), *sys.argv[2:])
