"""Reads the file of an offline run of W&B, with W&B's own message types."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK = 32768  # bytes; a record is cut at the end of a block


def records(path: Path) -> Iterator[Any]:
    """The records of a `.wandb` file: 7 bytes of header, then chunks of a checksum, a length, a type and data.

    Types: 1 is a whole record; 2, 3 and 4 are the first, a middle and the last chunk of one.
    """
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, held = path.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while place + 7 <= len(data):
        if BLOCK - place % BLOCK < 7:  # padding
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        held = (b"" if kind in (1, 2) else held) + data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            record = Record()
            record.ParseFromString(held)
            yield record
