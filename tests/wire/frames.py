#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A second implementation of docs/PROTOCOL.md, of its bytes only: writes one frame of each type.

usage: frames.py DIRECTORY

The files are what tests/unit/test_msg.c decodes and compares, and where the fuzzer begins.
"""
import pathlib
import struct
import sys

TYPES = {
    "HELLO": 1, "OFFER": 2, "VERDICTS": 3, "PREPARE": 4, "PREPARED": 5, "IMAGE": 6,
    "IMAGES_END": 7, "RESTORED": 8, "COMMIT": 9, "RUNNING": 10, "PROGRESS": 11, "DRAINED": 12,
    "BYE": 13, "ABORT": 14, "CHECK": 15, "HELD": 16, "HELD_END": 17, "ASK": 18, "STATE": 19,
    "FAULT": 20, "PAGES": 21, "ZEROS": 22, "BULK_END": 23,
    "DIRTY": 24, "CUT": 25, "RESUME": 26, "LACKING": 27, "MARK": 28, "PAD": 29, "FREEZE": 30,
}


def u8(v): return struct.pack(">B", v)
def u16(v): return struct.pack(">H", v)
def u32(v): return struct.pack(">I", v)
def u64(v): return struct.pack(">Q", v)


def string(s):
    b = s.encode()
    return u16(len(b)) + b


def blob(b): return u32(len(b)) + b
def items(v): return u16(len(v)) + b"".join(v)


def frame(name, *fields):
    payload = b"".join(fields)
    return u32(len(payload)) + u16(TYPES[name]) + u16(0) + payload


TOKEN = bytes(range(16))
DIGEST = bytes(range(32))
FRAMES = {
    "HELLO": frame("HELLO", u16(1), u16(1), u8(3), u8(2), TOKEN, string("strasbourg"),
                   string("godwit 0.1.0")),
    "OFFER": frame("OFFER", TOKEN, u8(2), u8(2), u32(2), string("xonotic"), string("/srv/xonotic"),
                   blob(b"{}"), DIGEST, string("x86_64"), string("6.18.0"), string("1.3.6"),
                   u32(40201), string("fpu sse avx"), u64(94000000),
                   items([u8(17) + u8(4) + u16(26000) + bytes(12) + bytes([10, 10, 0, 100])])),
    "VERDICTS": frame("VERDICTS", TOKEN, items([
        u8(0) + string("runc") + string("1.3.6") + string(""),
        u8(2) + string("name") + string("taken") + string("delete it")])),
    "PREPARE": frame("PREPARE", blob(b'["/dev/null"]')),
    "PREPARED": frame("PREPARED"),
    "IMAGE": frame("IMAGE", string("core-1.img"), u64(0), u64(5), u32(0), blob(b"image")),
    "IMAGES_END": frame("IMAGES_END", u32(12), u64(345678)),
    "RESTORED": frame("RESTORED", items([string("restore") + u64(65000000)])),
    "COMMIT": frame("COMMIT"),
    "RUNNING": frame("RUNNING", items([])),
    "PROGRESS": frame("PROGRESS", u64(1), u64(2)),
    "DRAINED": frame("DRAINED", *[u64(i) for i in range(11)], u8(1), items([u32(7), u32(0), u32(9)])),
    "BYE": frame("BYE"),
    "ABORT": frame("ABORT", u8(3), u32(17), string("no bundle"), string("copy it: gerät")),
    "CHECK": frame("CHECK"),
    "HELD": frame("HELD", items([blob(bytes([69, 0, 0, 20])), blob(b"")])),
    "HELD_END": frame("HELD_END"),
    "ASK": frame("ASK", TOKEN),
    "STATE": frame("STATE", u8(2), TOKEN),
    "FAULT": frame("FAULT", u32(1), u32(16), u64(0x7F0000001000)),
    "PAGES": frame("PAGES", u32(1), u8(0), u16(1), u64(0x7F0000001000), blob(bytes(4096))),
    "ZEROS": frame("ZEROS", u32(1), u32(512), u64(0x7F0000200000)),
    "BULK_END": frame("BULK_END", u64(1000), u64(2000)),
    "DIRTY": frame("DIRTY", u32(7), u32(3), u64(0x7F0000001000)),
    "CUT": frame("CUT"),
    "RESUME": frame("RESUME", u8(2)),
    "LACKING": frame("LACKING", u8(1), items([u32(1) + u32(2) + u64(0x7F0000001000),
                                              u32(1) + u32(512) + u64(0x7F0000200000)])),
    "MARK": frame("MARK"),
    "PAD": frame("PAD", blob(b"of no use")),
    "FREEZE": frame("FREEZE"),
}

if __name__ == "__main__":
    directory = pathlib.Path(sys.argv[1])
    for name, data in FRAMES.items():
        (directory / name).write_bytes(data)
