"""Lines of an export that are not as they were written."""

from __future__ import annotations

import io

from eventlog.errors import InvalidInput
from eventlog.importers import jsonl


def test_a_line_with_any_byte_made_invalid_is_refused_with_its_number() -> None:
    line = (
        b'{"position":1,"stream":"a-1","version":1,"type":"a.b","schema":1,"occurred_at":1,"recorded_at":1,'
        b'"data":{"text":"x"},"hash":"00"}\n'
    )
    told = 0
    for place in range(len(line)):
        spoilt = line[:place] + bytes([line[place] ^ 0x80]) + line[place + 1 :]
        try:
            list(jsonl.read(io.BytesIO(spoilt)))
        except InvalidInput as error:
            told += 1
            assert str(error).startswith("line 1: "), error
    assert told >= len(line) // 2  # what is in `data` is looked at later, when it is imported
