#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a hostile peer may try against an agent; docs/SECURITY.md lists the tries.

usage: attacker.py ADDRESS KEYS BUNDLE TRY

KEYS has key.pem of a host that the agent trusts. BUNDLE is the directory of a container "mem" as the
agent's host has it, seen from here. Ends with 0 when the agent has done what it should.
"""
import hashlib
import os
import pathlib
import random
import socket
import ssl
import stat
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "wire"))
from frames import DIGEST, TYPES, blob, frame, items, string, u8, u16, u32, u64  # noqa: E402

ADDRESS, KEYS, BUNDLE = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
MAGIC = b"GODWIT01"
NEW = bytes(16)
NAMES = {number: name for name, number in TYPES.items()}
CONTROL, URGENT, BULK = 1, 2, 3
PAGE = bytes(4096)


def certificate(key):
    path = key.with_suffix(".crt")
    if not path.exists():
        subprocess.run(["openssl", "req", "-x509", "-key", key, "-subj", "/CN=x", "-days", "2",
                        "-out", path], check=True, capture_output=True)
    return path


def context(key="key.pem", version=ssl.TLSVersion.TLSv1_3):
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
    c.minimum_version = c.maximum_version = version
    if key:
        c.load_cert_chain(certificate(KEYS / key), KEYS / key)
    return c


def own_key(kind="ED25519"):
    path = KEYS / "own.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", kind, "-out", path], check=True,
                   capture_output=True)
    return "own.pem"


def connect(route=NEW, preamble=None, source=None):
    s = socket.create_connection((ADDRESS, 7342), timeout=15, source_address=source)
    s.sendall(MAGIC + route if preamble is None else preamble)
    return s


def is_closed(s):
    """The agent hangs up, whatever it says before."""
    s.settimeout(15)
    try:
        while s.recv(65536):
            pass
    except (ConnectionError, ssl.SSLError):
        pass
    return True


class Link:
    """A connection of a peer that the agent trusts."""

    def __init__(self, route=NEW, key="key.pem"):
        self.s = context(key).wrap_socket(connect(route))

    def send(self, *frames):
        for f in frames:
            self.s.sendall(f)
        return self

    def hello(self, channel=CONTROL, index=0, token=NEW, host="strasbourg", versions=(1, 1)):
        host = host if isinstance(host, bytes) else string(host)
        return self.send(frame("HELLO", u16(versions[0]), u16(versions[1]), u8(channel), u8(index), token,
                               host, string("attacker")))

    def read(self, n):
        data = b""
        while len(data) < n:
            more = self.s.recv(n - len(data))
            assert more, "the agent has closed the connection"
            data += more
        return data

    def receive(self):
        head = self.read(8)
        return (NAMES[int.from_bytes(head[4:6], "big")], self.read(int.from_bytes(head[:4], "big")))

    def wait(self, name):
        while True:
            got, payload = self.receive()
            if got == name:
                return payload
            assert got != "ABORT", payload
            assert got in ("HELLO", "PROGRESS", "VERDICTS", "PREPARED"), got

    def aborted(self, text):
        """It ends with an ABORT that says why."""
        got = None
        while got != "ABORT":
            got, payload = self.receive()
        assert text.encode() in payload, payload
        return is_closed(self.s)

    def refused(self, text):
        """It ends with a verdict "no"."""
        payload = self.wait("VERDICTS")
        assert text.encode() in payload and 2 in levels(payload), payload
        return is_closed(self.s)


def levels(verdicts):
    at, found = 18, []
    for _ in range(int.from_bytes(verdicts[16:18], "big")):
        found.append(verdicts[at])
        at += 1
        for _ in range(3):
            at += 2 + int.from_bytes(verdicts[at:at + 2], "big")
    return found


def digest(root):
    """src/sync/digest.h, once more."""
    sha = hashlib.sha256()

    def put(b):
        sha.update(u64(len(b)) + b)

    def walk(directory, path):
        for name in sorted(os.listdir(directory)):
            full, here = directory + b"/" + name, path + b"/" + name
            st = os.lstat(full)
            put(here)
            for number in (st.st_mode, st.st_uid, st.st_gid):
                sha.update(u64(number))
            if stat.S_ISREG(st.st_mode):
                sha.update(u64(st.st_size) + pathlib.Path(os.fsdecode(full)).read_bytes())
            elif stat.S_ISLNK(st.st_mode):
                put(os.readlink(full))
            elif stat.S_ISCHR(st.st_mode) or stat.S_ISBLK(st.st_mode):
                sha.update(u64(st.st_rdev))
            elif stat.S_ISDIR(st.st_mode):
                walk(full, here)

    walk(os.fsencode(root), b"")
    return sha.digest()


def offer(container="mem", bundle="/srv/mem", config=None, root=None, memory=20 << 20, listeners=(), streams=1):
    as_field = lambda v: v if isinstance(v, bytes) else string(v)  # noqa: E731
    config = (BUNDLE / "config.json").read_bytes() if config is None else config
    root = digest(BUNDLE / "rootfs") if root is None else root
    return frame("OFFER", random.randbytes(16), u8(4), u8(streams), u32(0), as_field(container),
                 as_field(bundle), blob(config), root, string("x86_64"), string("6.12.0"), string("1.1.5"),
                 u32(40000), string(""), u64(memory), items(list(listeners)))


def begin():
    return Link().hello()


DESCRIPTORS = blob(b'["/dev/null","/dev/null","/dev/null"]')


def prepared(descriptors=DESCRIPTORS):
    """As far as an honest migration comes before its images: control, urgent, bulk."""
    link = begin().send(offer())
    verdicts = link.wait("VERDICTS")
    assert 2 not in levels(verdicts), verdicts
    link.token = verdicts[:16]
    link.send(frame("PREPARE", descriptors))
    return link


def complete(link):
    urgent = Link(link.token).hello(URGENT, 0, link.token)
    urgent.wait("HELLO")
    bulk = Link(link.token).hello(BULK, 0, link.token)
    link.wait("PREPARED")
    return link, urgent, bulk


def image(name, data, offset=0, total=None, unpacked=0):
    return frame("IMAGE", string(name), u64(offset), u64(len(data) if total is None else total), u32(unpacked),
                 blob(data))


def pages(vpid=1, encoding=0, n=1, addr=0x7F0000001000, data=PAGE):
    return frame("PAGES", u32(vpid), u8(encoding), u16(n), u64(addr), blob(data))


# --- strangers ----------------------------------------------------------------------------------------


def wrong_preamble():
    return is_closed(connect(preamble=b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"))


def short_preamble():
    s = connect(preamble=b"GODWIT")
    s.shutdown(socket.SHUT_WR)
    return is_closed(s)


def garbage_for_tls():
    s = connect()
    s.sendall(random.randbytes(5000))
    return is_closed(s)


def truncated_handshake():
    client, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context().wrap_bio(client, out)
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    s = connect()
    s.sendall(out.read()[:60])
    s.shutdown(socket.SHUT_WR)
    return is_closed(s)


def handshake_fails(c):
    """The server judges the key after the client believes to be connected."""
    try:
        s = c.wrap_socket(connect())
        s.sendall(frame("CHECK"))
        return s.recv(1) == b""
    except (ssl.SSLError, ConnectionError):
        return True


def wrong_key():
    return handshake_fails(context(own_key()))


def no_certificate():
    return handshake_fails(context(None))


def tls_1_2():
    return handshake_fails(context(version=ssl.TLSVersion.TLSv1_2))


def replay():
    """All that a peer has sent once, sent again."""
    into, out, sent = ssl.MemoryBIO(), ssl.MemoryBIO(), b""
    tls, s = context().wrap_bio(into, out), connect()
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            sent += (data := out.read())
            s.sendall(data)
            into.write(s.recv(65536))
    tls.write(frame("HELLO", u16(1), u16(1), u8(1), u8(0), NEW, string("x"), string("x")) + frame("CHECK"))
    sent += (data := out.read())
    s.sendall(data)
    again = connect()
    again.sendall(sent)
    answer, got = b"", b"x"
    try:
        while got:
            got = again.recv(65536)
            answer += got
    except ConnectionError:
        pass
    # A server's flight and an alert: nothing that would be the answer to a message.
    assert len(answer) < 2000, len(answer)
    return is_closed(s)


def guessed_token():
    s = connect(random.randbytes(16))
    s.sendall(random.randbytes(100))
    return is_closed(s)


# --- peers, at the wire ------------------------------------------------------------------------------


def garbage_after_handshake():
    return Link().send(random.randbytes(64)).aborted("broke the protocol")


def huge_length():
    return Link().send(u32(0xFFFFFFFF) + u16(TYPES["HELLO"]) + u16(0)).aborted("bad frame")


def type_zero():
    return Link().send(u32(0) + u16(0) + u16(0)).aborted("bad frame")


def unknown_type():
    return begin().send(u32(0) + u16(999) + u16(0)).aborted("bad frame")


def odd_last_field():
    return begin().send(u32(0) + u16(TYPES["CHECK"]) + u16(7)).aborted("bad frame")


def trailing_bytes():
    return begin().send(u32(1) + u16(TYPES["CHECK"]) + u16(0) + b"x").aborted("bad frame")


def no_payload():
    return Link().send(u32(0) + u16(TYPES["HELLO"]) + u16(0)).aborted("bad message")


def out_of_order():
    return begin().send(frame("COMMIT")).aborted("COMMIT before OFFER")


def prepare_before_offer():
    return begin().send(frame("PREPARE", DESCRIPTORS)).aborted("PREPARE before OFFER")


def wrong_direction():
    return begin().send(frame("PREPARED")).aborted("not allowed here")


def pages_on_control():
    return begin().send(pages()).aborted("not allowed here")


def wrong_first_channel():
    return Link().hello(BULK).aborted("begins with its control channel")


def other_version():
    return Link().hello(versions=(2, 9)).aborted("speaks protocol 2 to 9")


def invalid_utf8():
    return Link().hello(host=u16(3) + b"a\xff\xfe").aborted("bad message")


def hidden_text():
    return Link().hello(host="a\x1b[2Jb").aborted("bad message")


# --- peers, with offers -----------------------------------------------------------------------------------


def bad_names():
    for name in ("../etc", "a/b", ".hidden", "", b"\0\3a\0b", "a\nb"):
        begin().send(offer(container=name)).aborted("bad message")
    for name in ("--systemd-cgroup", "a b", "mem;id", "mém"):
        begin().send(offer(container=name)).refused("is no container name")
    return True


def bad_bundles():
    for path in ("srv/mem", "", b"\0\5/a\0bc"):
        begin().send(offer(bundle=path)).aborted("bad message")
    for path in ("/srv/../srv/mem", "/srv/./mem", "//srv/mem"):
        begin().send(offer(bundle=path)).refused("is no plain path")
    return begin().send(offer(bundle="/nosuch")).refused("No such file")


def bundle_of_a_user():
    return begin().send(offer(bundle="/srv/theirs")).refused("others than root can change /srv/theirs")


def other_configuration():
    """Hooks, devices, mounts and annotations that the agent's host doesn't have in its own."""
    text = (BUNDLE / "config.json").read_bytes()
    for more in (b'"hooks":{"prestart":[{"path":"/bin/sh"}]},',
                 b'"annotations":{"org.criu.config":"/etc/shadow"},',
                 b'"annotations":{"org.godwit.network":"veth eth0 ../../br0 mac x"},',
                 b'"mounts":[{"destination":"/host","source":"/","options":["rbind"]}],'):
        begin().send(offer(config=text.replace(b"{", b"{" + more, 1))).refused("differs from the source's")
    return begin().send(offer(config=b"\xff" * 262144)).refused("differs from the source's")


def other_root_file_system():
    return begin().send(offer(root=DIGEST)).refused("differs from the source's")


def endless_memory():
    for memory in (2**64 - 1, 2**63, 6 * 2**61 + 1):
        begin().send(offer(memory=memory)).refused("MB are available")
    return True


def too_many_listeners():
    one = u8(6) + u8(4) + u16(80) + bytes(16)
    return begin().send(offer(listeners=[one] * 257)).aborted("bad message")


def too_many_connections():
    """Of one peer."""
    links = []
    for _ in range(32):
        links.append(begin())
        links[-1].wait("HELLO")
    return begin().aborted("has too many connections here")


# --- peers, with further connections -----------------------------------------------------------------


def bad_descriptors():
    prepared(blob(b'{"a":[1]}')).aborted("is no list of descriptors")
    return prepared(blob(b"[" * 60000)).aborted("is no list of descriptors")


def another_peers_connection():
    """Who has seen the token has no use of it, and does no harm with it."""
    link = prepared()
    s = connect(link.token)
    s.sendall(random.randbytes(200))
    is_closed(s)
    try:
        Link(link.token, own_key()).hello(URGENT, 0, link.token).read(1)
        raise AssertionError("another key got in")
    except (ssl.SSLError, ConnectionError, AssertionError) as e:
        assert "another key" not in str(e), e
    complete(link)
    return True


def wrong_token_inside():
    link = prepared()
    Link(link.token).hello(URGENT, 0, random.randbytes(16))
    return link.aborted("wrong token")


def same_channel_twice():
    link = prepared()
    for _ in range(2):
        Link(link.token).hello(URGENT, 0, link.token)
    return link.aborted("unexpected further connection")


def ended_token():
    link, *others = complete(prepared())
    link.send(frame("COMMIT")).aborted("COMMIT among the images")
    for _ in range(10):
        s = connect(link.token)
        is_closed(s)
    return True


# --- peers, with images and pages ----------------------------------------------------------------------


INVENTORY = b"\x16\x31\x31\x58"
CORE = b"\x19\x43\x56\x54\x47\x38\x05\x55"


def images(frames, text):
    link, *others = complete(prepared())
    return link.send(*frames).aborted(text)


def image_escapes():
    images([image("../../../../etc/cron.d/x", b"x")], "bad message")
    return images([image("descriptors.json", b"[]")], "is none that may be restored here")


def image_of_the_host():
    return images([image("binfmt-misc.img", CORE)], "is none that may be restored here")


def image_of_a_network():
    return images([image("iptables-9.img", b"*filter\n-A INPUT --modprobe=/bin/sh")],
                  "is of a network")


def image_of_another_kind():
    return images([image("mm-1.img", CORE)], "is no such image")


def image_gaps():
    return images([image("core-1.img", CORE, 0, 100), image("core-1.img", b"x", 50, 100)], "out of order")


def image_longer_than_announced():
    return images([image("core-1.img", CORE, 0, 10), image("core-1.img", bytes(30), 8, 10)], "bad message")


def image_endless():
    return images([image("pages-1.img", bytes(4096), 0, 2**63)], "images of more than")


def image_twice():
    return images([image("inventory.img", INVENTORY), image("inventory.img", INVENTORY)], "came twice")


def images_not_whole():
    return images([image("core-1.img", CORE), frame("IMAGES_END", u32(2), u64(9))], "did not come whole")


def commit_before_restore():
    return images([image("core-1.img", CORE), frame("COMMIT")], "COMMIT among the images")


def held_without_address():
    return images([frame("HELD", items([blob(bytes(40))]))], "out of order")


def nonsense_restored():
    """Images that are well-formed for us and nonsense for CRIU."""
    link, _, bulk = complete(prepared())
    bulk.send(frame("CUT"))
    link.send(image("core-1.img", CORE), image("inventory.img", INVENTORY + bytes(8)),
              frame("IMAGES_END", u32(2), u64(20)))
    return link.aborted("CRIU could not restore the container")


def bulk_fails(frames, text):
    link, _, bulk = complete(prepared())
    bulk.send(*frames)
    return link.aborted(text)


def bomb():
    """A gigabyte of zeros in 33 kB."""
    return subprocess.run("head -c 1000000000 /dev/zero | zstd -q -1", shell=True, check=True,
                          capture_output=True).stdout


def compressed_bomb():
    """Announced as one page."""
    return bulk_fails([pages(encoding=1, data=bomb())], "can not be decoded")


def image_bomb():
    """Announced as 5000 bytes."""
    return images([image("pages-1.img", bomb(), 0, 5000, 5000)], "is damaged")


def bad_pages():
    for bad in (pages(addr=0x7F0000001001), pages(n=0), pages(n=65, data=PAGE * 64),
                pages(addr=2**64 - 4096, n=2, data=PAGE * 2), pages(addr=0x1FF000, n=2, data=PAGE * 2)):
        bulk_fails([bad], "bad message")
    return bulk_fails([pages(n=2)], "can not be decoded")


def endless_zeros():
    """Zero pages of all addresses, of ever other processes."""
    link, _, bulk = complete(prepared())
    try:
        for n in range(100000):
            bulk.send(frame("ZEROS", u32(1 + n % 1000), u32(1 << 20), u64(n << 32)))
    except (ConnectionError, ssl.SSLError, TimeoutError):
        pass
    return link.aborted("keeping pages")


def fault_by_the_source():
    link, urgent, _ = complete(prepared())
    urgent.send(frame("FAULT", u32(1), u32(1), u64(0)))
    link.s.close()
    return True


# --- floods ------------------------------------------------------------------------------------------------


def flood():
    """1,000 connections that say nothing, until standard input ends."""
    held = []
    for _ in range(1000):
        s = socket.socket()
        s.settimeout(5)
        s.connect((ADDRESS, 7342))
        held.append(s)
    print("open", flush=True)
    sys.stdin.read()
    return True


def slow():
    """100 connections that send a byte a second; they are gone after 10 seconds, however much comes.

    From the agent's own host: of an address that nobody else has."""
    held = [connect(preamble=b"G", source=("127.0.0.5", 0)) for _ in range(100)]
    print("open", flush=True)
    for byte in b"ODWIT01" + bytes(5):
        time.sleep(1)
        for s in list(held):
            try:
                s.sendall(bytes([byte]))
            except OSError:
                held.remove(s)
        if not held:
            return True
    raise AssertionError(f"{len(held)} are left")


if __name__ == "__main__":
    sys.exit(0 if globals()[sys.argv[4]]() else 1)
