# SPDX-License-Identifier: Apache-2.0
"""What is migrated."""
import json
import re
import time

from lab import SITES, Failed, at, lab

FLOATING = "10.10.0.100"
BEAT = f"{FLOATING}/10.10.0.50/26000"
ECHO = (FLOATING, 7000)
REDIS = (FLOATING, 6379)
PROCEDURES = ["by-hand-stop", "by-hand-post", "stop", "post", "pre", "hybrid"]


class Workload:
    """One that lab/lab starts by its name and arguments, and which sends beats to the player."""

    procedures = PROCEDURES
    settle_s = 2.0
    peers = {}  # instead of the player's gap meter: commands of lab/lab, by names

    def __init__(self, name, container, *args):
        self.name = name
        self.container = container
        self.args = args

    def start(self):
        lab("workload", "start", "--floating", SITES[0], self.container, *self.args)
        time.sleep(self.settle_s)

    def stop(self):
        for site in SITES:
            lab("workload", "stop", site, self.container)

    def check(self, site):
        lab("workload", "check", site, self.container)

    def before(self, _from, _to):
        """What else is measured before each migration: figures for the sample."""
        return {}

    def after(self):
        """And what after it."""
        return {}


class Mem(Workload):
    def __init__(self, name, megabytes, rate, pattern="sequential", touch=0):
        super().__init__(name, "mem", "-b", BEAT, *(["-t", touch] if touch else []), megabytes, rate,
                         pattern)
        self.settle_s = 2 + megabytes / 500  # it fills its memory first


class Redis(Workload):
    settle_s = 12  # until every key has its value

    def __init__(self, name):
        super().__init__(name, "redis", BEAT, 100000)


class Game(Workload):
    def __init__(self, name="game"):
        super().__init__(name, "xonotic")

    def start(self):
        lab("game", "start", SITES[0])
        lab("player", "start")
        time.sleep(self.settle_s)

    def stop(self):
        lab("player", "stop")
        super().stop()

    def check(self, site):
        lab("player", "status")

    def before(self, _from, _to):
        self.missed = int(lab("player", "missed"))
        return {}

    def after(self):
        return {"lost_to": int(lab("player", "missed")) - self.missed}


class Apart:
    """In front of a workload's class: the sites are that far apart."""

    link = ()

    def start(self):
        lab("link", SITES[1], *self.link)
        super().start()

    def stop(self):
        super().stop()
        lab("link", SITES[1], "--clear")


class Distant(Apart, Game):
    """By hand, post-copy fetches a page a round trip there, which takes the better part of an hour."""

    link = ("--delay", 50, "--rate", 100)
    procedures = [p for p in PROCEDURES if p != "by-hand-post"]


class Metro(Apart, Mem):
    """Two sites of a town; nothing writes."""

    link = ("--delay", 1)
    procedures = ["by-hand-post", "post", "hybrid"]


class Copy(Mem):
    """Nothing writes; in front of each copy, a single TLS stream between the same hosts."""

    procedures = ["pre", "hybrid"]
    megabytes = 1000

    def before(self, source, target):
        key = "/etc/openvpn/godwit/host"
        # Its input is a pipe that never ends: at an end it would hang up.
        at(target, f"""
            rm -rf /tmp/tls && mkdir /tmp/tls && mkfifo /tmp/tls/input
            setsid timeout 60 sh -c "openssl s_server -accept 7443 -naccept 1 -quiet \
                -cert {key}.crt -key {key}.key | wc -c >/tmp/tls/bytes" \
                <>/tmp/tls/input >/dev/null 2>&1 &
            for i in $(seq 200); do ! ss -Hltn sport = :7443 | grep -q . || exit 0; sleep 0.01; done
            exit 1""")
        start = time.monotonic()
        at(source, f"""head -c {self.megabytes}M /dev/zero |
            openssl s_client -quiet -no_ign_eof -connect {target}:7443 >/dev/null 2>&1""")
        seconds = time.monotonic() - start
        time.sleep(0.5)
        got = int(at(target, "cat /tmp/tls/bytes"))
        if got != self.megabytes << 20:
            raise Failed(f"the TLS stream ended after {got} bytes")
        return {"tls_mb_s": got / seconds / 1e6}


class Traffic(Workload):
    """A server at the floating address, and peers that see what they lose."""

    def start(self):
        lab("workload", "start", SITES[0], self.container, *self.args)
        time.sleep(self.settle_s)

    @staticmethod
    def of_connection(said):
        """A connection that breaks is a figure, not a failure."""
        return {"resets": 0 if json.loads(said).get("said") else 1}


class Datagrams(Traffic):
    """A thousand datagrams a second, each with a number and sent back with another; and a connection
    that is idle."""

    peers = {"udp": ("peer", "udp", *ECHO, 1000), "idle": ("peer", "idle", *ECHO)}

    def __init__(self, name):
        super().__init__(name, "echo")

    def seen(self, said, _gone, _moments):
        udp = json.loads(said["udp"])
        return self.of_connection(said["idle"]) | {
            "gap_ms": udp["gap_ms"], "sent": udp["sent"], "lost": udp["lost_back"],
            "lost_to": udp["lost_there"], "twice": udp["twice"],
            "late": udp["late_there"] + udp["late_back"]}


class Download(Traffic):
    """A connection at full speed; some datagrams say how long the gap is, of which it may lose some."""

    peers = {"download": ("peer", "download", *ECHO, 0), "udp": ("peer", "udp", *ECHO, 200)}

    def __init__(self, name):
        super().__init__(name, "echo")

    def seen(self, said, _gone, moments):
        got, gap = json.loads(said["download"]), json.loads(said["udp"])["gap_ms"]
        if "error" in got:
            return {"gap_ms": gap, "resets": 1}
        stall = max((s["ms"] for s in got["stalls"] if s["at"] > moments["start"]), default=0)
        return {"gap_ms": gap, "stall_ms": stall, "stall_over_gap_ms": stall - gap,
                "wrong": got["wrong"], "resets": 0, "mbit": got["mbit"]}


class Clients(Traffic):
    """redis-server with 500,000 keys and redis-benchmark as its clients over the network, any error of which
    ends it; and a client that is idle."""

    peers = {"benchmark": ("client", "redis-benchmark", "-h", FLOATING, "-t", "set,get", "-c", 20,
                           "-n", 100000000, "-r", 500000, "-d", 100, "-q"),
             "idle": ("peer", "redis", *REDIS, 2000), "busy": ("peer", "redis", *REDIS, 1)}
    keys = 500000

    def __init__(self, name):
        super().__init__(name, "redis-net")

    def start(self):
        super().start()
        self.cli("debug", "populate", self.keys, "key", 100)

    @staticmethod
    def cli(*command):
        return lab("client", "redis-cli", "-h", FLOATING, *command).strip()

    def check(self, site):
        if int(self.cli("dbsize")) < self.keys:
            raise Failed("redis has lost keys")

    def seen(self, said, gone, _moments):
        figures = self.of_connection(said["idle"])
        figures["resets"] += self.of_connection(said["busy"])["resets"]
        figures["errors"] = int("benchmark" in gone or "rror" in said["benchmark"])
        return {"gap_ms": json.loads(said["busy"]).get("longest_ms")} | figures


ALL = {w.name: w for w in [
    Game(),
    Mem("server-270", 270, 3, "hot", touch=30),
    Mem("mem-100-20-random", 100, 20, "random"),
    Mem("mem-1024-20-random", 1024, 20, "random"),
    Mem("mem-4096-20-random", 4096, 20, "random"),
    Mem("mem-2048-0", 2048, 0),
    Mem("mem-1024-20-sequential", 1024, 20, "sequential"),
    Mem("mem-1024-20-hot", 1024, 20, "hot"),
    Mem("mem-1024-100-random", 1024, 100, "random"),
    Mem("mem-1024-100-sequential", 1024, 100, "sequential"),
    Mem("mem-1024-100-hot", 1024, 100, "hot"),
    Redis("redis"),
    Distant("game-50ms-100mbit"),
    Metro("mem-100-0-1ms", 100, 0),
    Datagrams("traffic-datagrams"),
    Download("traffic-download"),
    Clients("traffic-redis"),
    Copy("copy-1024", 1024, 0),
]}


def by_name(name):
    """One of ALL, or any mem-MB-RATE[-PATTERN]."""
    if name in ALL:
        return ALL[name]
    found = re.fullmatch(r"mem-(\d+)-(\d+)(?:-(sequential|random|hot))?", name)
    if not found:
        raise Failed(f'no workload "{name}"; there are: {", ".join(ALL)}, and mem-MB-RATE-PATTERN')
    return Mem(name, int(found[1]), int(found[2]), found[3] or "sequential")
