# SPDX-License-Identifier: Apache-2.0
"""Measures: every procedure on every workload, in turn; one JSON object a migration, as they come.

bench/run starts it with the lab up.
"""
import argparse
import json
import pathlib
import platform
import signal
import sys
import tempfile
import time

import report
import workloads
from lab import (LAB, REPO, SITES, Failed, Gap, Peak, Peers, agents_join_group, at, cpu_seconds,
                 join_group, lab, other, process, resident_bytes, run, wan_bytes)

BASE_S = 2.0  # watched before a migration
AFTER_S = 3.0  # and after it
LIMIT_S = 180  # for one migration
DRAINING = ["by-hand-post", "post", "hybrid"]
FAILURES_MAX = 2  # of a procedure in a row: then it is left out


def machine():
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo", encoding="utf-8")
                if line.startswith("model name")), platform.machine())
    kb = int(open("/proc/meminfo", encoding="utf-8").readline().split()[1])
    cores = run("nproc").strip()
    return f"{cores} × {cpu}, {round(kb / 1048576)} GiB, Linux {platform.release()}"


def commit():
    try:
        return run("git", "-C", REPO, "describe", "--always", "--dirty").strip()
    except (Failed, FileNotFoundError):
        return "unknown"


class Migration:
    """One run of a procedure: its moments (seconds since 1970) and what it said of itself."""

    def __init__(self, procedure, workload, source):
        self.procedure = procedure
        self.container = workload.container
        self.source = source
        self.target = other(source)
        self.events = []
        self.moments = {}

    def run(self):
        self.moments["start"] = time.time()
        if self.procedure.startswith("by-hand-"):
            self.by_hand(self.procedure.removeprefix("by-hand-"))
        else:
            self.by_godwit()
        self.moments["end"] = time.time()

    def by_hand(self, how):
        run(REPO / "bench/by-hand", how, self.source, self.target, self.container,
            workloads.FLOATING + "/24", "br0", timeout=LIMIT_S)
        for moment in ("running", "drained"):
            self.moments[moment] = float(at(self.target, f"cat /tmp/hand/{moment}"))

    def by_godwit(self):
        command = (f"exec timeout {LIMIT_S} godwit migrate --json --mode {self.procedure} "
                   f"{self.container} {self.target}")
        with process([LAB, "exec", self.source, "sh", "-ec", join_group(command)]) as p:
            for line in p.stdout:
                self.take_event(json.loads(line))
            said = p.stderr.read().strip()
        if p.returncode == 124:
            raise Failed(f"unfinished after {LIMIT_S} s")
        if p.returncode != 0:
            errors = [e["text"] for e in self.events if e["event"] == "error"]
            raise Failed((errors or [said or f"godwit ended with {p.returncode}"])[-1])

    def take_event(self, event):
        event["at"] = event["time"]
        self.events.append(event)
        if event["event"] == "phase":
            self.moments[{"drain": "running"}.get(event["phase"], event["phase"])] = event["at"]
        elif event["event"] == "report":
            self.moments["drained"] = event["at"]

    def said(self):
        """The report's figures, under the names that a sample has."""
        r = next((e for e in self.events if e["event"] == "report"), None)
        figures = {}
        if self.procedure in DRAINING:
            figures["drain_ms"] = 1000 * (self.moments["drained"] - self.moments["running"])
        if r is None:
            return figures
        names = ["freeze_ms", "rounds", "faults", "urgent"]
        names += ["drain_ms"] if self.procedure in DRAINING else []
        names += ["copy_ms"] if r["copy_ms"] > 0 else []
        names += ["fault_p50_us", "fault_p99_us"] if r["faults"] > 0 else []
        figures |= {name: r[name] for name in names}
        figures["freeze_parts"] = {p["name"]: p["ms"] for p in r["freeze_parts"]}
        if r["copy_ms"] > 0:
            figures["copy_mb_s"] = r["memory_bytes"] / r["copy_ms"] / 1000
        return figures


def slow_down(gap, base, start, end):
    """How much less often the workload got its turn than before, in percent of before."""
    seen = gap.between(start, end)
    if not seen:
        return None
    return 100 * (1 - seen["received"] / (end - start) / base["rate_hz"])


def outside(gap, base_start, m, draining):
    """What was seen from outside."""
    base = gap.between(base_start, m["start"])
    seen = gap.between(m["start"], m["end"] + AFTER_S)
    if not base or not seen:
        raise Failed("the workload sent nothing")
    figures = {"gap_ms": seen["gap_ms"], "lost": seen["lost"], "base_gap_ms": base["gap_ms"]}
    if "copy" in m and "freeze" in m:
        figures["copy_gap_ms"] = (gap.between(m["copy"], m["freeze"]) or {}).get("gap_ms")
        figures["copy_slow_percent"] = slow_down(gap, base, m["copy"], m["freeze"])
    if draining:
        figures["drain_slow_percent"] = slow_down(gap, base, m["running"], m["drained"])
    return figures


def inside(m, resident):
    """Runs a migration; what both hosts have spent on it, and what it said."""
    sent, cpu, peak = wan_bytes(m.source), cpu_seconds(), Peak(m.target)
    peak.start()
    try:
        m.run()
    finally:
        highest = peak.end()
    return m.said() | {"cpu_s": cpu_seconds() - cpu, "target_peak_mb": highest / 1e6,
                       "target_peak_per_resident": highest / resident,
                       "sent_per_resident": (wan_bytes(m.source) - sent) / resident}


def surrounded(m):
    """A migration, with the time before it and after it in which it is watched."""
    resident = resident_bytes(m.source, m.container)
    time.sleep(BASE_S)
    figures = {"resident_mb": resident / 1e6} | inside(m, resident)
    time.sleep(max(0, m.moments["end"] + AFTER_S - time.time()))
    return figures


class Bench:
    def __init__(self, options):
        self.o = options
        self.out = pathlib.Path(options.out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.samples_file = self.out / "samples.jsonl"
        if not options.resume:
            self.samples_file.unlink(missing_ok=True)
        self.commit = commit()
        self.machine = machine()
        self.end = time.monotonic() + options.minutes * 60 if options.minutes else None

    def keep(self, sample):
        with open(self.samples_file, "a", encoding="utf-8") as f:
            f.write(json.dumps(sample) + "\n")

    def have(self, workload, procedure):
        """Samples of a run that is continued."""
        return sum(s["workload"] == workload and s["procedure"] == procedure and
                   s["commit"] == self.commit for s in report.read_samples(self.samples_file))

    def time_is_up(self):
        return self.end is not None and time.monotonic() > self.end

    def sample(self, workload, procedure, source):
        """One migration; it leaves the container on the other site, or raises Failed."""
        target = other(source)
        figures = workload.before(source, target)
        m = Migration(procedure, workload, source)
        with tempfile.TemporaryDirectory() as work:
            figures |= self.among_peers(workload, m, work) if workload.peers else \
                self.watched(workload, m, work)
        figures["total_ms"] = (m.moments["end"] - m.moments["start"]) * 1000
        workload.check(target)
        return figures | workload.after()

    def watched(self, workload, m, work):
        """The gap meter sees the container's beats."""
        with Gap(f"{work}/packets") as gap:
            base_start = time.time()
            figures = surrounded(m)
            figures |= outside(gap, base_start, m.moments, m.procedure in DRAINING)
            self.keep_timeline(workload, m.procedure, m, gap)
        return figures

    def among_peers(self, workload, m, work):
        """The container's peers see for themselves what they lose."""
        with Peers(workload.peers, work) as peers:
            figures = surrounded(m)
            said, gone = peers.end()
        del figures["sent_per_resident"]  # the peers' own traffic would be in it
        return figures | workload.seen(said, gone, m.moments)

    def keep_timeline(self, workload, procedure, m, gap):
        if procedure != "hybrid":
            return
        start = m.moments["start"]
        timeline = {"workload": workload.name, "procedure": procedure, "commit": self.commit,
                    "events": [e | {"at": e["at"] - start} for e in m.events
                               if e["event"] in ("phase", "progress", "round", "report")],
                    "packets": [round(t - start, 6) for t in gap.packets()]}
        (self.out / f"timeline-{workload.name}.json").write_text(json.dumps(timeline))

    def workload(self, w):
        procedures = [p for p in w.procedures if p in self.o.procedures]
        wanted = {p: self.o.rounds - self.have(w.name, p) for p in procedures}
        if not any(n > 0 for n in wanted.values()):
            return
        failures = dict.fromkeys(procedures, 0)
        try:
            w.start()
            source = SITES[0]
            for turn in range(self.o.rounds):
                # Each procedure goes the other way in the next turn, with an even number of them too.
                for p in procedures[turn % len(procedures):] + procedures[:turn % len(procedures)]:
                    if wanted[p] <= 0 or failures[p] == FAILURES_MAX:
                        continue
                    if self.time_is_up():
                        return
                    wanted[p] -= 1
                    source = self.attempt(w, p, source, failures)
        finally:
            w.stop()

    def attempt(self, w, procedure, source, failures):
        """Keeps a sample, also of a failure; returns where the container then runs."""
        sample = {"procedure": procedure, "workload": w.name, "at": time.strftime("%F %T"),
                  "commit": self.commit, "machine": self.machine}
        try:
            sample |= self.sample(w, procedure, source)
            failures[procedure] = 0
            said = f"{sample['gap_ms'] or 0:8.1f} ms"
            source = other(source)
        except Failed as e:
            sample["failed"] = said = str(e)
            failures[procedure] += 1
        self.keep(sample)
        print(f"  {w.name:24} {procedure:13} {said}", flush=True)
        if "failed" in sample and not self.intact(w, source):
            w.stop()
            w.start()
            source = SITES[0]
        return source

    def intact(self, w, source):
        """After a failure: it runs where it ran, only there, and does what it should."""
        try:
            w.check(source)
            return lab("where", w.container).split() == [source]
        except Failed:
            return False

    def run(self):
        agents_join_group()
        for name in self.o.only:
            if not self.time_is_up():
                self.workload(workloads.by_name(name))


def options():
    p = argparse.ArgumentParser(prog="bench/run", add_help=False)
    p.add_argument("--only", action="append", default=[])
    p.add_argument("--procedures", default=",".join(workloads.PROCEDURES))
    p.add_argument("--rounds", type=int, default=10)
    p.add_argument("--minutes", type=float)
    p.add_argument("--resume", action="store_true")
    p.add_argument("--quick", action="store_true")
    p.add_argument("--out", default=str(REPO / "build/bench"))
    p.add_argument("--json")
    p.add_argument("--check", action="store_true")  # of the options alone
    o = p.parse_args()
    o.procedures = o.procedures.split(",")
    if o.quick:
        o.only, o.procedures, o.rounds = ["game"], ["by-hand-post", "hybrid"], 5
    o.only = [name for names in o.only or workloads.ALL for name in names.split(",")]
    for procedure in o.procedures:
        if procedure not in workloads.PROCEDURES:
            raise Failed(f'no procedure "{procedure}"; there are: {", ".join(workloads.PROCEDURES)}')
    for name in o.only:
        workloads.by_name(name)
    return o


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    bench = None
    try:
        o = options()
        if o.check:
            return 0
        bench = Bench(o)
        bench.run()
    except Failed as e:
        print(f"bench: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        if bench:
            report.write(bench.out, bench.o.json, plots=not bench.o.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main())
