CREATE TABLE events (
    position    BIGINT PRIMARY KEY CHECK (position BETWEEN 1 AND 9007199254740991),
    stream      TEXT COLLATE "C" NOT NULL,
    version     BIGINT NOT NULL CHECK (version >= 1),
    type        TEXT COLLATE "C" NOT NULL,
    schema      BIGINT NOT NULL,
    occurred_at BIGINT NOT NULL,
    recorded_at BIGINT NOT NULL,
    key         TEXT COLLATE "C",
    actor       TEXT COLLATE "C",
    correlation TEXT COLLATE "C",
    causation   TEXT COLLATE "C",
    data        JSON NOT NULL, -- not jsonb: the bytes are hashed, and must survive
    metadata    JSON,
    hash        BYTEA NOT NULL CHECK (length(hash) = 32),
    UNIQUE (stream, version)
);

CREATE UNIQUE INDEX events_key ON events (key) WHERE key IS NOT NULL;

-- The head of the log: whoever appends holds this row to the end of the transaction, so positions are given out and
-- become visible in one order. `generation` rises when a projection is made, moved or stopped.
CREATE TABLE log_head (
    one        BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (one),
    generation BIGINT NOT NULL
);

INSERT INTO log_head (generation) VALUES (1);

CREATE FUNCTION events_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'events are immutable';
END
$$;

-- A row cannot be slipped in: below the head every position is taken, and the chain of hashes tells of a gap above it.
CREATE TRIGGER events_no_change BEFORE UPDATE OR DELETE ON events
    FOR EACH ROW EXECUTE FUNCTION events_refuse();

CREATE TRIGGER events_no_truncate BEFORE TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION events_refuse();
