-- Who says that he lives, and when he said so last: no part of the log, and not rebuilt from it.
CREATE TABLE worker_liveness (
    worker_id TEXT COLLATE "C" PRIMARY KEY,
    beat_at   BIGINT NOT NULL
) WITH (fillfactor = 50);
