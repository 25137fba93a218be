# SPDX-License-Identifier: Apache-2.0
"""What is migrated."""
import re
import time

from lab import SITES, Failed, at, lab

FLOATING = "10.10.0.100"
BEAT = f"{FLOATING}/10.10.0.50/26000"
PROCEDURES = ["by-hand-stop", "by-hand-post", "stop", "post", "pre", "hybrid"]


class Workload:
    """One that lab/lab starts by its name and arguments, and which sends beats to the player."""

    procedures = PROCEDURES
    settle_s = 2.0

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


class Distant(Game):
    """The game between sites 50 ms and 100 Mbit/s apart. By hand, post-copy fetches a page a round
    trip there, which takes the better part of an hour."""

    procedures = [p for p in PROCEDURES if p != "by-hand-post"]

    def start(self):
        lab("link", SITES[1], "--delay", 50, "--rate", 100)
        super().start()

    def stop(self):
        super().stop()
        lab("link", SITES[1], "--clear")


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
