CREATE TABLE projections (
    name           TEXT PRIMARY KEY,
    kind           TEXT NOT NULL,
    version        INTEGER NOT NULL,
    fingerprint    TEXT NOT NULL,
    position       INTEGER, -- NULL: at the head, every append brings it along
    state          TEXT NOT NULL CHECK (state IN ('live', 'pinned', 'failed')),
    error          TEXT,
    error_position INTEGER,
    generation     INTEGER NOT NULL DEFAULT 1,
    updated_at     INTEGER NOT NULL
) STRICT;
