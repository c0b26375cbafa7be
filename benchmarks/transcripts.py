"""Claude Code transcripts to import: those of a folder, multiplied with fresh ids; made ones where there is none."""

from __future__ import annotations

import json
import os
import random
import re
from hashlib import sha256
from pathlib import Path

_IDS = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|(?:msg|req|toolu)_[A-Za-z0-9]{8,}")
_HEX = b"0123456789abcdef"


def fixtures() -> list[Path]:
    """Real transcripts, where ``EVENTLOG_FIXTURES`` or the folder beside the checkout has them."""
    beside = Path(__file__).parents[2] / "shared" / "fixtures"
    root = Path(os.environ.get("EVENTLOG_FIXTURES", beside)) / "transcripts"
    return sorted(path for path in root.rglob("*.jsonl") if "codex" not in path.parts and path.stat().st_size > 4096)


def multiplied(folder: Path, size_bytes: int) -> int:
    """Write transcripts of so many bytes below a folder; returns how many they are."""
    originals = [path.read_bytes() for path in fixtures()] or [_made(seed) for seed in range(6)]
    written = copy = 0
    while written < size_bytes:
        for number, content in enumerate(originals):
            name = sha256(f"{copy}/{number}".encode()).hexdigest()[:32]
            target = folder / f"project-{copy % 40}" / f"{name[:8]}-{name[8:]}.jsonl"
            target.parent.mkdir(parents=True, exist_ok=True)
            written += target.write_bytes(_fresh(content, copy))
            if written >= size_bytes:
                break
        copy += 1
    return written


def _fresh(content: bytes, copy: int) -> bytes:
    """The same records with other ids, of the same length and kind, each the same wherever it stood."""
    known: dict[bytes, bytes] = {}

    def other(match: re.Match[bytes]) -> bytes:
        old = match[0]
        new = known.get(old)
        if new is None:
            digest = sha256(b"%d:%s" % (copy, old)).hexdigest().encode()
            if old[8:9] == b"-":
                new = b"-".join((digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:32]))
            else:
                head, _, rest = old.partition(b"_")
                new = head + b"_" + (digest * 2)[: len(rest)]
            known[old] = new
        return new

    return _IDS.sub(other, content)


def _made(seed: int) -> bytes:
    """A transcript in the form of a real one: answers, tools and their results, of sizes as measured of real ones."""
    dice = random.Random(seed)
    words = [f"{dice.choice('abcdefghijklmnop')}{dice.getrandbits(20):x}" for _ in range(4000)]
    lines: list[bytes] = []
    session, parent = _uuid(dice), None
    for turn in range(220):
        at = f"2025-09-{turn % 28 + 1:02}T{turn % 24:02}:{turn % 60:02}:00.{turn:03}Z"
        common = {"isSidechain": False, "userType": "external", "cwd": "/path/to/demo", "sessionId": session}
        common |= {"version": "1.0.108", "gitBranch": "main", "timestamp": at}
        text = " ".join(dice.choices(words, k=int(dice.lognormvariate(3.5, 1.2)) + 3))
        tool, uuid = f"toolu_{dice.getrandbits(96):024x}", _uuid(dice)
        usage = {"input_tokens": dice.randrange(4, 900), "output_tokens": dice.randrange(5, 2000)}
        usage |= {"cache_creation_input_tokens": dice.randrange(9000), "cache_read_input_tokens": dice.randrange(90000)}
        called = {"type": "tool_use", "id": tool, "name": dice.choice(["Bash", "Read"]), "input": {"a": text[:90]}}
        message = {"id": f"msg_{dice.getrandbits(96):024x}", "type": "message", "role": "assistant"}
        message |= {"model": "claude-sonnet-4-20250514", "content": [{"type": "text", "text": text}, called]}
        message |= {"stop_reason": "tool_use", "usage": usage}
        record = {"parentUuid": parent, **common, "type": "assistant", "uuid": uuid, "message": message}
        lines.append(json.dumps({**record, "requestId": f"req_{dice.getrandbits(80):020x}"}).encode())
        output = " ".join(dice.choices(words, k=int(dice.lognormvariate(4.5, 1.4)) + 3))
        result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": tool, "content": output}]}
        parent = _uuid(dice)
        record = {"parentUuid": uuid, **common, "type": "user", "uuid": parent, "message": result}
        lines.append(json.dumps({**record, "toolUseResult": {"stdout": output, "stderr": ""}}).encode())
    return b"\n".join(lines) + b"\n"


def _uuid(dice: random.Random) -> str:
    text = f"{dice.getrandbits(128):032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
