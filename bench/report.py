#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Samples to rows, a table and plots.

usage: bench/report.py DIRECTORY [--publish]

--publish puts table and plots into docs/, see docs/PERFORMANCE.md: tables of other workloads stay there.
"""
import json
import pathlib
import re
import statistics
import sys

REPO = pathlib.Path(__file__).resolve().parent.parent
DOCS = REPO / "docs"
MEMORY = re.compile(r"mem-(\d+)-20-random")  # the workloads that differ in size alone
# How long a phase must last for the datagrams in it to say how slow the workload was.
WINDOW_MS = 300
SLOW = {"copy_slow_percent": "copy_ms", "drain_slow_percent": "drain_ms"}
TIMELINES = ["mem-1024-20-random", "game"]  # the first of these that was measured is drawn
COLOURS = {"by-hand-stop": "#9e6a5b", "by-hand-post": "#c9a227", "stop": "#5b7a9e", "post": "#4c9f70",
           "pre": "#8e6bb0", "hybrid": "#c2453f"}
PHASES = {"check": "#eeeeee", "prepare": "#dde6ee", "copy": "#d9ead3", "freeze": "#f4c7c3",
          "send": "#f4c7c3", "drain": "#fdeec9"}


def read_samples(path):
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def stats(values):
    return {"median": round(statistics.median(values), 3), "min": round(min(values), 3),
            "max": round(max(values), 3), "n": len(values)}


def credible(sample):
    """Without the slow-down in phases that were too short for it."""
    return {k: v for k, v in sample.items() if k not in SLOW or sample.get(SLOW[k], 0) >= WINDOW_MS}


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def summarise(samples):
    """Stats of every figure that the samples have, also of figures within figures."""
    figures = {}
    for key in dict.fromkeys(k for s in samples for k in s):
        values = [s[key] for s in samples if s.get(key) is not None]
        if values and all(is_number(v) for v in values):
            figures[key] = stats(values)
        elif values and all(isinstance(v, dict) for v in values):
            figures[key] = summarise(values)
    return figures


def rows(samples):
    """One a workload and procedure, in the order in which they were first measured."""
    result = []
    for workload in dict.fromkeys(s["workload"] for s in samples):
        for procedure in COLOURS:
            mine = [s for s in samples if (s["workload"], s["procedure"]) == (workload, procedure)]
            if not mine:
                continue
            failed = [s["failed"] for s in mine if "failed" in s]
            row = {"procedure": procedure, "workload": workload, "gap_ms": None}
            row |= summarise([credible(s) for s in mine if "failed" not in s])
            row |= {"failed": len(failed)} | ({"reasons": sorted(set(failed))} if failed else {})
            row |= {key: sorted({s[key] for s in mine}) for key in ("commit", "machine")}
            row["date"] = min(s["at"] for s in mine)[:10]
            result.append(row)
    return result


# The table's columns: title, figure, by what it is divided, decimals.
COLUMNS = [
    ("freeze, ms", "freeze_ms", 1, 0), ("total, s", "total_ms", 1000, 1),
    ("drain, s", "drain_ms", 1000, 2), ("sent/resident", "sent_per_resident", 1, 2),
    ("CPU, s", "cpu_s", 1, 2), ("slower in copy, %", "copy_slow_percent", 1, 0),
    ("slower in drain, %", "drain_slow_percent", 1, 0), ("target's peak, MB", "target_peak_mb", 1, 0),
    ("lost from it", "lost", 1, 0), ("lost to it", "lost_to", 1, 0), ("twice", "twice", 1, 0),
    ("out of order", "late", 1, 0), ("longest stall, ms", "stall_ms", 1, 0),
    ("stall less gap, ms", "stall_over_gap_ms", 1, 0), ("wrong bytes", "wrong", 1, 0),
    ("resets", "resets", 1, 0), ("redis-benchmark's errors", "errors", 1, 0),
    ("longest pause in copy, ms", "copy_gap_ms", 1, 1),
    ("and before it, ms", "base_gap_ms", 1, 1), ("copied, MB/s", "copy_mb_s", 1, 0),
    ("TLS stream, MB/s", "tls_mb_s", 1, 0), ("fault, µs median", "fault_p50_us", 1, 0),
    ("p99", "fault_p99_us", 1, 0)]
# What must not happen even once is shown as the most of all runs, and what varies much with its spread.
COUNTS = {"lost", "lost_to", "twice", "late", "wrong", "resets", "errors"}
SPREAD = {"stall_ms", "stall_over_gap_ms"}


def cell(row, figure, by, decimals):
    if not row.get(figure):
        return ""
    median, least, most = (f"{row[figure][k] / by:.{decimals}f}" for k in ("median", "min", "max"))
    if figure in SPREAD:
        return f"{median} ({least}–{most})"
    return most if figure in COUNTS else median


def gap_cell(row):
    g = row["gap_ms"]
    failed = f"; {row['failed']} failed: {row['reasons'][0]}" if row["failed"] else ""
    if not g:
        return f"none{failed}"
    return f"{g['median']:.0f} ({g['min']:.0f}–{g['max']:.0f}), {g['n']}{failed}"


def table(all_rows):
    """Markdown, one table a workload, with the columns that have something in them."""
    lines = []
    for workload in dict.fromkeys(r["workload"] for r in all_rows):
        mine = [r for r in all_rows if r["workload"] == workload]
        columns = [c for c in COLUMNS if any(r.get(c[1]) for r in mine)]
        titles = ["", "gap, ms: median (least–most), runs", *(c[0] for c in columns)]
        lines += [f"### {workload}", "", f"| {' | '.join(titles)} |",
                  "|---|---|" + "---:|" * len(columns)]
        for r in mine:
            cells = [r["procedure"], gap_cell(r), *(cell(r, *c[1:]) for c in columns)]
            lines.append(f"| {' | '.join(cells)} |")
        lines += ["", *freeze_lines(mine)]
    return "\n".join(lines)


def freeze_lines(mine):
    """Where the freeze goes, the medians of its parts."""
    parts = [(r["procedure"], r["freeze_parts"]) for r in mine if r.get("freeze_parts")]
    if not parts:
        return []
    text = "; ".join(f"{procedure}: " + ", ".join(f"{name} {s['median']:.0f}" for name, s in p.items())
                     for procedure, p in parts)
    return [f"The freeze's parts, ms: {text}.", ""]


def provenance(all_rows):
    machines = sorted({m for r in all_rows for m in r["machine"]})
    commits = sorted({c for r in all_rows for c in r["commit"]})
    dates = sorted({r["date"] for r in all_rows})
    return (f"Measured {' to '.join(dict.fromkeys([dates[0], dates[-1]]))} at commit "
            f"{', '.join(commits)} on {'; '.join(machines)}, which plays both hosts, the network and "
            "the player.")


def new_figure(height):
    import matplotlib  # pylint: disable=import-outside-toplevel
    matplotlib.use("svg")
    # Text stays text, and the same samples give the same bytes.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "godwit", "font.size": 9,
                                "axes.spines.top": False, "axes.spines.right": False})
    from matplotlib import pyplot  # pylint: disable=import-outside-toplevel
    return pyplot.subplots(2 if height > 4 else 1, 1, figsize=(7.5, height), sharex=True,
                           layout="constrained")


def save(figure, path):
    figure.savefig(path, metadata={"Date": None})


def plot_memory(all_rows, path):
    """The gap over the container's memory, a line a procedure."""
    sizes = [r for r in all_rows if MEMORY.fullmatch(r["workload"]) and r["gap_ms"]]
    if len({r["workload"] for r in sizes}) < 2:
        return
    figure, axes = new_figure(4)
    for procedure, colour in COLOURS.items():
        mine = sorted((r["resident_mb"]["median"], r["gap_ms"]) for r in sizes
                      if r["procedure"] == procedure)
        if not mine:
            continue
        x, gaps = zip(*mine)
        y = [g["median"] for g in gaps]
        spread = [[g["median"] - g["min"] for g in gaps], [g["max"] - g["median"] for g in gaps]]
        axes.errorbar(x, y, spread, label=procedure, color=colour, marker="o", markersize=3, capsize=2)
    axes.set(xscale="log", yscale="log", xlabel="resident memory, MB (written at 20 MB/s, random pages)",
             ylabel="gap seen from outside, ms")
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.yaxis.set_major_formatter("{x:.0f}")
    axes.grid(alpha=0.3, which="both", linewidth=0.4)
    axes.legend(frameon=False)
    save(figure, path)


def pauses(packets):
    """Edges and heights for stairs: the longest wait for a beat in each slot of 10 ms or more."""
    edges, heights, longest = [packets[0]], [], 0
    for before, t in zip(packets, packets[1:]):
        longest = max(longest, t - before)
        if t - edges[-1] >= 0.01:
            edges.append(t)
            heights.append(1000 * longest)
            longest = 0
    return heights, edges


def faults(report, running):
    """When so many page faults had come, from the moment at which the container could run."""
    gate = next(p["ms"] for p in report["freeze_parts"] if p["name"] == "gate")
    opened, n = running - gate / 1000, 0
    yield opened, 0
    for i, more in enumerate(report["fault_times"]):
        n += more
        yield min(opened + 2 ** i / 1000, report["at"]), n


def plot_faults(axes, report, running):
    right = axes.twinx()
    right.plot(*zip(*faults(report, running)), color=COLOURS["pre"], linewidth=0.8)
    right.set(ylim=(0, None))
    right.set_ylabel("page faults there", color=COLOURS["pre"])
    right.spines["right"].set_visible(True)


def plot_timeline(timeline, path):
    """One migration: its phases, what was copied in which round, when the beats came, and the faults."""
    events = timeline["events"]
    phases = [(e["at"], e["phase"]) for e in events if e["event"] == "phase"]
    report = next((e for e in events if e["event"] == "report"), None)
    end = report["at"] if report else events[-1]["at"]
    figure, (top, bottom) = new_figure(5.5)
    for axes in (top, bottom):
        for (start, name), stop in zip(phases, [p[0] for p in phases[1:]] + [end]):
            axes.axvspan(start, stop, color=PHASES.get(name, "#ffffff"), linewidth=0)
    for start, name in phases:
        if name == "send":  # still frozen: the band goes on
            continue
        top.annotate(name, (start, 1), xycoords=("data", "axes fraction"), rotation=60, fontsize=7,
                     xytext=(2, 2), textcoords="offset points")
    packets = [t for t in timeline["packets"] if -0.5 < t < end + 0.5]
    top.stairs(*pauses(packets), color="#333333", linewidth=0.8, baseline=None)
    top.set(yscale="log", ylabel="pause between datagrams, ms", ylim=(1, None))
    top.yaxis.set_major_formatter("{x:.0f}")
    progress = [(e["at"], e["done"] / 1e6) for e in events if e["event"] == "progress"]
    if progress:
        bottom.plot(*zip(*progress), color=COLOURS["hybrid"], marker=".", markersize=3, linewidth=0.8,
                    label="memory that went over, MB")
    rounds = [(e["at"], e["left"] / 1e6) for e in events if e["event"] == "round"]
    if rounds:
        bottom.step(*zip(*rounds), where="post", color=COLOURS["stop"], marker=".", linewidth=0.8,
                    label="written since it was sent, MB, at each round's end")
    bottom.set(xlabel=f"s; {timeline['workload']}, mode {timeline['procedure']}", ylabel="MB",
               ylim=(0, None))
    bottom.legend(frameon=False)
    if report and report.get("fault_times"):
        plot_faults(bottom, report, next(start for start, name in phases if name == "drain"))
    save(figure, path)


def plot(out, all_rows):
    plot_memory(all_rows, out / "gap-memory.svg")
    for workload in TIMELINES:
        path = out / f"timeline-{workload}.json"
        if path.exists():
            plot_timeline(json.loads(path.read_text(encoding="utf-8")), out / "timeline.svg")
            return


def write(out, json_path=None, plots=True):
    """rows.json, table.md and plots from the samples that there are."""
    all_rows = rows(read_samples(out / "samples.jsonl"))
    text = json.dumps(all_rows, indent=1, ensure_ascii=False) + "\n"
    (out / "rows.json").write_text(text, encoding="utf-8")
    if json_path:
        pathlib.Path(json_path).write_text(text, encoding="utf-8")
    if not all_rows:
        return
    (out / "table.md").write_text(f"{provenance(all_rows)}\n\n{table(all_rows)}\n", encoding="utf-8")
    print((out / "table.md").read_text(encoding="utf-8"))
    if plots:
        plot(out, all_rows)


def older(measured, workloads):
    """What a page has of other workloads than these: each run's tables below its line of provenance."""
    kept = []
    for run in re.split(r"^(?=Measured )", measured, flags=re.M)[1:]:
        provenance_line, *tables = re.split(r"^(?=### )", run, flags=re.M)
        tables = [t for t in tables if t.splitlines()[0].removeprefix("### ") not in workloads]
        if tables:
            kept += [provenance_line, *tables]
    return "".join(kept).strip("\n")


def publish(out):
    """The measured part of docs/PERFORMANCE.md, between its two markers, and the plots."""
    page = DOCS / "PERFORMANCE.md"
    text = page.read_text(encoding="utf-8")
    head, rest = text.split("<!-- measured -->\n")
    before, tail = rest.split("<!-- end -->\n")
    measured = (out / "table.md").read_text(encoding="utf-8")
    runs = [measured.strip("\n"), older(before, set(re.findall(r"^### (.*)$", measured, flags=re.M)))]
    measured = "\n\n".join(r for r in runs if r)
    page.write_text(f"{head}<!-- measured -->\n{measured}\n\n<!-- end -->\n{tail}", encoding="utf-8")
    for name in ("gap-memory.svg", "timeline.svg"):
        if (out / name).exists():
            (DOCS / name).write_bytes((out / name).read_bytes())


def main():
    if len(sys.argv) not in (2, 3) or sys.argv[2:] not in ([], ["--publish"]):
        print(__doc__, file=sys.stderr)
        return 2
    out = pathlib.Path(sys.argv[1])
    write(out)
    if len(sys.argv) == 3:
        publish(out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
