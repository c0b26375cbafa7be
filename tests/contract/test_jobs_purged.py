"""What was purged stays out of the tables, whoever has asked for it meanwhile."""

from __future__ import annotations

from eventlog.app import Log
from eventlog.events.jobs import JobEnqueued
from eventlog.repositories.jobs import JOBS


def test_a_purged_job_that_was_looked_for_in_a_transaction_is_not_made_again_by_what_follows(log: Log) -> None:
    gone = log.jobs.enqueue("work")
    (claimed,) = log.jobs.claim("w")
    log.jobs.complete(gone.job_id, claimed.token or 0)
    log.jobs.delete(gone.job_id)
    log.projections.resume()  # as in a program that has not seen the row: nothing is remembered past a transaction
    with log.transaction() as tx:
        log.projections.bring(tx, "jobs")
        assert log.projections.row(tx, JOBS, gone.job_id) is None
        tx.append(f"job-{gone.job_id}", JobEnqueued(kind="work"))
    assert log.jobs.find(gone.job_id) is None
    assert log.projections.verify() == []
