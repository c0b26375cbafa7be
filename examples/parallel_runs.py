"""Many processes record into one log at once: run numbers stay 1, 2, 3 …, and children know their parent."""

from __future__ import annotations

import multiprocessing
import time

import eventlog


def work(number: int) -> None:
    with eventlog.open() as log, log.runs.track("child", program="child", parameters={"number": number}) as run:
        time.sleep(0.01)
        run.metric("square", number * number)


def main() -> None:
    with eventlog.open() as log:
        with log.runs.track("parent"):
            context = multiprocessing.get_context("spawn")
            children = [context.Process(target=work, args=(number,)) for number in range(4)]
            for child in children:
                child.start()
            for child in children:
                child.join()
        runs = log.runs.list(program="child")
        print("children", sorted(run.run_id for run in runs), "of run", {run.parent_run_id for run in runs})
        print("squares", sorted(log.runs.metrics(run.run_id)[0].value or 0 for run in runs))


if __name__ == "__main__":
    main()
