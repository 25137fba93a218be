# SPDX-License-Identifier: Apache-2.0
"""The lab as bench/ sees it: its command, its hosts' control groups and their processes."""
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import threading

REPO = pathlib.Path(__file__).resolve().parent.parent
LAB = REPO / "lab/lab"
SITES = ["strasbourg", "tuebingen"]
GROUP = "bench"  # the control group, in each host, of whatever migrates; see bench/by-hand
COMMAND_S = 120
GRACE_S = 20


class Failed(Exception):
    """A command that did not do what it was asked to."""


@contextlib.contextmanager
def process(command):
    """A child in a process group of its own, which is ended with it if anything goes wrong."""
    with subprocess.Popen([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, start_new_session=True) as p:
        try:
            yield p
        except BaseException:
            os.killpg(p.pid, signal.SIGTERM)
            try:
                p.communicate(timeout=GRACE_S)
            except subprocess.TimeoutExpired:
                os.killpg(p.pid, signal.SIGKILL)
            raise


def run(*command, timeout=COMMAND_S):
    """What it printed; Failed if it failed or took too long."""
    try:
        with process(command) as p:
            out, err = p.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise Failed(f"unfinished after {timeout} s") from None
    if p.returncode != 0:
        lines = (err or out).strip().splitlines()
        raise Failed(lines[-1] if lines else f"{command[0]} ended with {p.returncode}")
    return out


def lab(*args, **options):
    return run(LAB, *args, **options)


def at(host, script, **options):
    return lab("exec", host, "sh", "-ec", script, **options)


def other(site):
    return SITES[1 - SITES.index(site)]


def join_group(script):
    """A script that runs in its host's control group of the bench."""
    return (f"mkdir -p /sys/fs/cgroup/{GROUP}; echo $$ >/sys/fs/cgroup/{GROUP}/cgroup.procs; "
            + script)


def agents_join_group():
    """What an agent starts is then counted too."""
    for site in SITES:
        at(site, join_group(f"pgrep -x godwit >/sys/fs/cgroup/{GROUP}/cgroup.procs"))


def host_group(host):
    mounts = pathlib.Path("/proc/self/mounts").read_text().split("\n")
    root = next(m.split()[1] for m in mounts if " cgroup2 " in m)
    return pathlib.Path(root) / os.environ.get("GODWIT_LAB", "godwit-lab") / host


def cpu_seconds():
    """Of everything that migrates, on both sides, so far."""
    total = 0
    for site in SITES:
        for line in (host_group(site) / GROUP / "cpu.stat").read_text().splitlines():
            if line.startswith("usage_usec"):
                total += int(line.split()[1]) / 1e6
    return total


def status_kb(pid, field):
    """A figure of /proc/PID/status, or 0 when the process is gone."""
    try:
        for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1])
    except (FileNotFoundError, ProcessLookupError):
        pass
    return 0


def processes(group):
    try:
        return (group / "cgroup.procs").read_text().split()
    except (FileNotFoundError, OSError):
        return []


def resident_bytes(site, container):
    """The container's own memory: anonymous and shared, without its programs' files."""
    return 1024 * sum(status_kb(pid, field) for pid in processes(host_group(site) / container)
                      for field in ("RssAnon", "RssShmem"))


def wan_bytes(site):
    return int(at(site, "cat /sys/class/net/wan0/statistics/tx_bytes"))


class Peak(threading.Thread):
    """The most that a process of the bench's group had resident at a host: its high-water mark,
    looked at until it is gone."""

    def __init__(self, host):
        super().__init__(daemon=True)
        self.group = host_group(host) / GROUP
        self.bytes = 0
        self.ended = threading.Event()

    def run(self):
        while not self.ended.wait(0.02):
            for pid in processes(self.group):
                self.bytes = max(self.bytes, 1024 * status_kb(pid, "VmHWM"))

    def end(self):
        self.ended.set()
        self.join()
        return self.bytes


class Peers:
    """Programs on the player's machine, by names, that tell at their end what they saw."""

    def __init__(self, commands, directory):
        self.commands = commands
        self.directory = pathlib.Path(directory)
        self.running = {}

    def __enter__(self):
        for name, command in self.commands.items():
            with open(self.directory / name, "w", encoding="utf-8") as out:
                self.running[name] = subprocess.Popen(
                    [str(c) for c in [LAB, *command]], stdin=subprocess.DEVNULL, stdout=out,
                    stderr=subprocess.STDOUT, start_new_session=True)
        return self

    def end(self):
        """By name, what it said; and which ones had ended by themselves."""
        gone = {name for name, p in self.running.items() if p.poll() is not None}
        for p in self.running.values():
            p.terminate()
        for p in self.running.values():
            p.wait(GRACE_S)
        said = {name: (self.directory / name).read_text(encoding="utf-8", errors="replace")
                for name in self.running}
        return said, gone

    def __exit__(self, *_):
        for p in self.running.values():
            if p.poll() is None:
                p.kill()
                p.wait()


class Gap:
    """What the player's machine sees."""

    def __init__(self, path):
        self.path = path

    def __enter__(self):
        lab("gap", "start", self.path)
        return self

    def __exit__(self, *_):
        lab("gap", "stop")

    def between(self, start, end):
        """None where there was nothing to see."""
        try:
            return json.loads(lab("gap", "report", self.path, f"{start:.6f}", f"{end:.6f}"))
        except Failed:
            return None

    def packets(self):
        return [float(line.split()[0]) for line in lab("gap", "list", self.path).splitlines()]
