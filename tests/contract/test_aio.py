"""`log.aio`: the same log for coroutines, that share commits and can be cancelled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from eventlog import NO_STREAM, Append
from eventlog.app import Log
from eventlog.errors import InvalidEvent, LogClosed, WrongExpectedVersion
from eventlog.log import PAGE
from tests.helpers import Noted, assert_whole, in_child, notes, numbers

pytestmark = pytest.mark.alike


def test_hundreds_of_coroutines_append_and_each_gets_its_own_result(log: Log) -> None:
    async def main() -> None:
        results = await asyncio.gather(*(log.aio.append(f"note-{n % 7}", Noted(number=n)) for n in range(300)))
        assert sorted(result.first for result in results) == list(range(1, 301))
        for number, result in enumerate(results):
            (record,) = log.read(result.first - 1, result.first)
            assert (record.event.number, record.version) == (number, result.version)  # type: ignore[union-attr]

    asyncio.run(main())
    assert_whole(log)


def test_coroutines_get_their_own_errors(log: Log) -> None:
    async def main() -> list[Any]:
        appends = (log.aio.append(f"note-{n % 5}", Noted(), expect=NO_STREAM) for n in range(20))
        return await asyncio.gather(*appends, return_exceptions=True)

    results = asyncio.run(main())
    assert sum(isinstance(result, WrongExpectedVersion) for result in results) == 15
    assert log.head().position == 5


def test_what_is_invalid_is_refused_before_waiting(log: Log) -> None:
    async def main() -> None:
        with pytest.raises(InvalidEvent):
            await log.aio.append("note-1", "no event")  # type: ignore[arg-type]

    asyncio.run(main())


def test_append_many_is_all_or_nothing(log: Log) -> None:
    async def main() -> None:
        results = await log.aio.append_many(
            [Append(stream="a-1", events=notes(2)), Append(stream="b-1", events=Noted())]
        )
        assert [result[:3] for result in results] == [(1, 2, 2), (3, 3, 1)]
        with pytest.raises(WrongExpectedVersion):
            await log.aio.append_many(
                [Append(stream="c-1", events=Noted()), Append(stream="a-1", events=Noted(), expect=0)]
            )

    asyncio.run(main())
    assert log.head().position == 3


def test_a_retried_key_is_a_duplicate(log: Log) -> None:
    async def main() -> None:
        results = await asyncio.gather(*(log.aio.append("note-1", notes(2), key="k") for _ in range(10)))
        assert sorted(result.duplicate for result in results) == [False] + [True] * 9

    asyncio.run(main())
    assert log.head().position == 2


def test_decide_head_and_reads_await(log: Log) -> None:
    log.append("note-1", notes(PAGE + 3))

    async def main() -> None:
        assert (await log.aio.decide(lambda tx: tx.append("note-2", Noted()))).version == 1
        assert (await log.aio.head()).position == PAGE + 4
        assert [r.position async for r in log.aio.read()] == list(range(1, PAGE + 5))
        assert [r.position async for r in log.aio.read(2, 5)] == [3, 4, 5]
        assert [r.stream async for r in log.aio.read(streams="note-2")] == ["note-2"]
        assert [r.version async for r in log.aio.read_stream("note-1", after=PAGE)] == [PAGE + 1, PAGE + 2, PAGE + 3]
        assert [r.position async for r in log.aio.read(backwards=True, limit=2)] == [PAGE + 4, PAGE + 3]

    asyncio.run(main())


def test_the_event_loop_goes_on_while_a_commit_waits(log: Log) -> None:
    async def main() -> int:
        ticks = 0
        with log.transaction():
            appending = asyncio.ensure_future(log.aio.append("note-1", Noted()))
            for _ in range(20):
                await asyncio.sleep(0.005)
                ticks += 1
            assert not appending.done()
        assert (await appending).first == 1
        return ticks

    assert asyncio.run(main()) == 20


def test_follow_sees_what_coroutines_and_threads_append(log: Log) -> None:
    async def follower() -> list[int]:
        seen = []
        async for record in log.aio.follow(after=0, poll_s=0.005):
            seen.append(record.position)
            if len(seen) == 20:
                return seen
        return seen

    async def main() -> None:
        following = asyncio.ensure_future(follower())
        for number in range(10):
            await log.aio.append("note-1", Noted(number=number))
            await asyncio.to_thread(log.append, "note-2", Noted(number=number))
        assert await asyncio.wait_for(following, 10) == list(range(1, 21))

    asyncio.run(main())


def test_follow_ends_after_a_quiet_time_and_takes_filters(log: Log) -> None:
    async def main() -> list[str]:
        for number in range(6):
            await log.aio.append(f"note-{number % 2}", Noted())
        return [r.stream async for r in log.aio.follow(after=0, streams="note-1", poll_s=0.005, timeout_s=0.1)]

    assert asyncio.run(main()) == ["note-1"] * 3


class _ThreadOfChoice(ThreadPoolExecutor):
    """An executor that runs each job on the first or second of two threads, as a test says."""

    def __init__(self) -> None:
        super().__init__(1)
        self.second = ThreadPoolExecutor(1)
        self.use_second = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if self.use_second:
            return self.second.submit(fn, *args, **kwargs)
        return super().submit(fn, *args, **kwargs)


def test_follow_misses_nothing_whichever_threads_do_its_work(log: Log) -> None:
    async def main() -> list[int]:
        executor = _ThreadOfChoice()
        asyncio.get_running_loop().set_default_executor(executor)
        executor.use_second = True
        await log.aio.head()  # the second thread has a connection of its own from here on
        log.append("note-1", Noted())
        executor.use_second = False
        seen = []
        following = log.aio.follow(after=0, poll_s=0.002)
        seen.append((await asyncio.wait_for(anext(following), 5)).position)
        for number in range(2, 30):
            executor.use_second = bool(number % 2)
            log.append("note-1", Noted())
            seen.append((await asyncio.wait_for(anext(following), 5)).position)
        await following.aclose()  # type: ignore[attr-defined]
        executor.second.shutdown()
        return seen

    assert asyncio.run(main()) == list(range(1, 30))


def test_a_follower_can_be_cancelled(log: Log) -> None:
    async def follower() -> None:
        async for _ in log.aio.follow(after=0):
            pass

    async def main() -> None:
        following = asyncio.ensure_future(follower())
        await log.aio.append("note-1", Noted())
        await asyncio.sleep(0.02)
        following.cancel()
        with pytest.raises(asyncio.CancelledError):
            await following
        await log.aio.append("note-1", Noted())

    asyncio.run(main())
    assert log.head().position == 2


def test_an_append_cancelled_while_waiting_is_stored_whole_or_not_at_all(log: Log) -> None:
    async def main() -> None:
        entered, leave = threading.Event(), threading.Event()

        def hold(tx: Any) -> None:
            entered.set()
            assert leave.wait(10)

        holding = asyncio.ensure_future(asyncio.to_thread(log.decide, hold))
        await asyncio.to_thread(entered.wait, 10)
        appending = [asyncio.ensure_future(log.aio.append(f"note-{n}", notes(3))) for n in range(10)]
        await asyncio.sleep(0.05)
        for one in appending[::2]:
            one.cancel()
        leave.set()
        await holding
        results = await asyncio.gather(*appending, return_exceptions=True)
        assert [isinstance(result, asyncio.CancelledError) for result in results] == [True, False] * 5
        assert (await log.aio.append("after-1", Noted())).version == 1

    asyncio.run(main())
    for number in range(10):
        stored = numbers(log.read_stream(f"note-{number}"))
        assert stored == [0, 1, 2] or (number % 2 == 0 and stored == [])
    assert_whole(log)


def test_an_append_given_up_before_its_turn_stops_nobody(target: str) -> None:
    assert in_child("cancelled_before_its_turn", target) == "given up\n"


def test_two_event_loops_in_two_threads_share_the_log(log: Log) -> None:
    async def main(worker: int) -> None:
        await asyncio.gather(*(log.aio.append(f"own-{worker}", Noted(number=n)) for n in range(50)))

    threads = [threading.Thread(target=lambda n=n: asyncio.run(main(n))) for n in range(3)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(30)
    assert [len(list(log.read_stream(f"own-{worker}"))) for worker in range(3)] == [50] * 3
    assert_whole(log)


def test_a_closed_log_says_so(log: Log) -> None:
    log.close()

    async def main() -> None:
        with pytest.raises(LogClosed):
            await log.aio.append("note-1", Noted())
        with pytest.raises(LogClosed):
            await log.aio.head()

    asyncio.run(main())
