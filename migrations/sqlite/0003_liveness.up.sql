-- Who says that he lives, and when he said so last: no part of the log, and not rebuilt from it.
CREATE TABLE worker_liveness (
    worker_id TEXT PRIMARY KEY,
    beat_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
