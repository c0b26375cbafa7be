"""The power goes at any moment: images of the disk made from what reached it, torn at 512 bytes."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from faultvfs import FaultyDisk, Op
from sizes import size
from under_fire import Ticked, faulty, keys_in, open_log, pages_in_order, run

SECTOR = 512
COMMITS = 400


@dataclass
class File:
    """What surely is on the disk, and what may be."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[Op] = field(default_factory=list)

    def settle(self) -> None:
        for op in self.pending:
            apply(self.durable, op)
        self.pending.clear()

    def image(self, chance: random.Random) -> bytes:
        """The durable bytes with a random part of the pending writes, each torn at sectors."""
        content = bytearray(self.durable)
        for op in self.pending:
            if op.kind == "truncate":
                if chance.random() < 0.5:
                    apply(content, op)
                continue
            for at in range(0, len(op.data), SECTOR):
                if chance.random() < 0.5:
                    apply(content, Op("write", op.path, op.offset + at, op.data[at : at + SECTOR]))
        return bytes(content)


def apply(content: bytearray, op: Op) -> None:
    if op.kind == "truncate":
        del content[op.offset :]
        content.extend(b"\0" * (op.offset - len(content)))
    else:
        content.extend(b"\0" * (op.offset - len(content)))
        content[op.offset : op.offset + len(op.data)] = op.data


def record_history(path: Path, disk: FaultyDisk, durability: str) -> tuple[dict[str, File], list[Op]]:
    """A working log's writes, with a mark after each acknowledged event."""
    open_log(path).close()
    files = {path.name: File(bytearray(path.read_bytes())), f"{path.name}-wal": File()}
    with open_log(faulty(path)) as log, disk.recording() as journal:
        for number in range(COMMITS):
            key = f"k{number}"
            if number % 4 == 0:
                run = log.runs.start(f"job {number}", durability=durability)
                disk.mark(b"")
                if number % 8 == 0:
                    log.runs.finish_success(run.run_id, wall_us=number)
            log.append("fire-power", Ticked(number=number, text="x" * 700), key=key, durability=durability)  # type: ignore[arg-type]
            disk.mark(key.encode())
    return files, journal


@pytest.mark.parametrize("durability", ["full", "process"])
def test_a_log_survives_a_power_cut_at_any_moment(tmp_path: Path, disk: FaultyDisk, durability: str) -> None:
    path = tmp_path / "log.db"
    files, journal = record_history(path, disk, durability)
    syncs = sum(op.kind == "sync" for op in journal)
    assert syncs >= (COMMITS if durability == "full" else 4), syncs
    chance = random.Random(7)
    cuts = sorted(chance.randrange(len(journal)) for _ in range(size("IMAGES")))
    acknowledged: list[str] = []
    at, lossy, lost, most = 0, 0, 0, 0
    for number, cut in enumerate(cuts):
        for op in journal[at:cut]:
            name = Path(op.path).name
            if op.kind == "mark":
                acknowledged += [op.data.decode()] if op.data else []
            elif op.kind == "sync":
                files[name].settle()
            elif op.kind == "delete":
                files[name] = File()
            else:
                files[name].pending.append(op)
        at = cut
        place = tmp_path / f"image{number}"
        place.mkdir()
        for name, file in files.items():
            (place / name).write_bytes(file.image(chance))
        gone = missing_after(place / path.name, acknowledged)
        lossy += bool(gone)
        lost += gone
        most = max(most, gone)
        for file_path in place.iterdir():
            file_path.unlink()
    print(
        f"{durability}: {len(journal):,} writes and syncs ({syncs} syncs), {len(cuts)} power cuts, all consistent; "
        f"{lossy} lost acknowledged events (at most {most})"
    )
    if durability == "full":
        assert lost == 0
    else:
        assert lost, "the images are too kind: without a sync a power cut must be able to lose a tail"


def missing_after(path: Path, acknowledged: list[str]) -> int:
    """How many of the last acknowledged events an image lacks; everything else about it must be in order."""
    with open_log(path) as log:
        report = log.verify()
        assert report.ok, report
        assert list(log.projections.verify()) == []
        stored = keys_in(log)
        log.append("fire-afterwards", Ticked())
    assert pages_in_order(path) == "ok"
    missing = [key for key in acknowledged if key not in set(stored)]
    assert missing == acknowledged[len(acknowledged) - len(missing) :], "only a tail may be lost, never a hole"
    return len(missing)


def test_a_disk_that_lies_about_syncs_is_found_out_or_harmless(tmp_path: Path, disk: FaultyDisk) -> None:
    """Syncs are ignored: each image is sound, perhaps shorter (the head kept elsewhere tells), or reported."""

    path = tmp_path / "log.db"
    files, journal = record_history(path, disk, "full")
    chance = random.Random(11)
    marks: list[str] = []
    reported = shorter = whole = 0
    count = max(10, size("IMAGES") // 6)
    cuts = sorted(chance.randrange(len(journal) // 10, len(journal)) for _ in range(count))
    at = 0
    for number, cut in enumerate(cuts):
        for op in journal[at:cut]:
            if op.kind == "mark":
                marks += [op.data.decode()] if op.data else []
            elif op.kind in ("write", "truncate"):
                file = files[Path(op.path).name]
                file.pending.append(op)
                if len(file.pending) > 60:  # the cache of the lying disk
                    apply(file.durable, file.pending.pop(0))
        at = cut
        place = tmp_path / f"lie{number}"
        place.mkdir()
        for name, file in files.items():
            (place / name).write_bytes(file.image(chance))
        lines = run("check_everything", place / path.name)
        if lines != ["sound"]:
            reported += 1
            continue
        with open_log(place / path.name, mode="r") as log:
            gone = set(marks) - set(keys_in(log))
        shorter += bool(gone)
        whole += not gone
    print(f"lying disk: {count} power cuts, {reported} reported as damaged, {shorter} sound but shorter, {whole} whole")
    assert reported + shorter + whole == count
