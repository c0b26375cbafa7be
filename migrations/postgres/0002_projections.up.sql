CREATE TABLE projections (
    name           TEXT COLLATE "C" PRIMARY KEY,
    kind           TEXT NOT NULL,
    version        BIGINT NOT NULL,
    fingerprint    TEXT NOT NULL,
    position       BIGINT, -- NULL: at the head, every append brings it along
    state          TEXT NOT NULL CHECK (state IN ('live', 'pinned', 'failed')),
    error          TEXT,
    error_position BIGINT,
    generation     BIGINT NOT NULL DEFAULT 1,
    updated_at     BIGINT NOT NULL
);
