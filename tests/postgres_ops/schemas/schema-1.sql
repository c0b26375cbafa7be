CREATE FUNCTION events_refuse() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION 'events are immutable';
END
$$;
CREATE TABLE eventlog_migrations (
    number integer NOT NULL,
    name text,
    applied_at bigint
);
CREATE TABLE events (
    "position" bigint NOT NULL,
    stream text NOT NULL COLLATE pg_catalog."C",
    version bigint NOT NULL,
    type text NOT NULL COLLATE pg_catalog."C",
    schema bigint NOT NULL,
    occurred_at bigint NOT NULL,
    recorded_at bigint NOT NULL,
    key text COLLATE pg_catalog."C",
    actor text COLLATE pg_catalog."C",
    correlation text COLLATE pg_catalog."C",
    causation text COLLATE pg_catalog."C",
    data json NOT NULL,
    metadata json,
    hash bytea NOT NULL,
    CONSTRAINT events_hash_check CHECK ((length(hash) = 32)),
    CONSTRAINT events_position_check CHECK ((("position" >= 1) AND ("position" <= '9007199254740991'::bigint))),
    CONSTRAINT events_version_check CHECK ((version >= 1))
);
CREATE TABLE log_head (
    one boolean DEFAULT true NOT NULL,
    generation bigint NOT NULL,
    CONSTRAINT log_head_one_check CHECK (one)
);
INSERT INTO eventlog_migrations VALUES (1, 'events', 1704110400000000);
INSERT INTO events VALUES (1, 'project-demo', 1, 'project.added', 1, 1704110400000000, 1704110400000000, NULL, NULL, NULL, NULL, '{"type":"project.added","path":"/srv/demo","note":"é"}', NULL, '\x20b5dca9870d1b4d1e5832ad8d621c67c36b8737c798df4654089d79c39a8e65');
INSERT INTO events VALUES (2, 'run-1', 1, 'run.started', 1, 1700003600000000, 1704110400000000, NULL, NULL, NULL, NULL, '{"type":"run.started","command":"train.py --seed 1","program":"train.py","project_id":"demo","tags":{"seed":"1"},"host":"build"}', NULL, '\xf2d19891be4c69528b2a2120ab088481c75ae8cbfe01fcdb64244cae91c00d09');
INSERT INTO events VALUES (3, 'run-1', 2, 'run.metric_logged', 1, 1700003600000001, 1704110400000000, NULL, NULL, NULL, NULL, '{"type":"run.metric_logged","name":"loss","value":0.5,"step":1}', NULL, '\x19fc9eed389edacce8e290db6e7f333e32d77f38f51b8b79a6abbeabeefeedf1');
INSERT INTO events VALUES (4, 'run-1', 3, 'run.finished', 1, 1700003601500000, 1704110400000000, NULL, NULL, NULL, NULL, '{"type":"run.finished","status":"success","wall_us":1500000}', NULL, '\x4b94d08d0fb26703146dde1b6f11dc5f134032bb7a914bdad9a4325865c9cbb5');
INSERT INTO events VALUES (5, 'run-2', 1, 'run.started', 1, 1700007200000000, 1704110400000000, NULL, NULL, NULL, NULL, '{"type":"run.started","command":"train.py --seed 2","program":"train.py","project_id":"demo","tags":{"seed":"2"},"host":"build"}', NULL, '\x72ed7a7d7e49d32aafe1a711373d15f18531d29304a42650f7e9cd1d0915fad5');
INSERT INTO events VALUES (6, 'run-2', 2, 'run.metric_logged', 1, 1700007200000001, 1704110400000000, NULL, NULL, NULL, NULL, '{"type":"run.metric_logged","name":"loss","value":0.25,"step":2}', NULL, '\x1ca78b9a5fc34739816e0b8adfa7152c498f2ff03f1dadcbe768d931d687cf8c');
INSERT INTO events VALUES (7, 'run-2', 3, 'run.finished', 1, 1700007200900000, 1704110400000000, NULL, NULL, NULL, NULL, '{"type":"run.finished","status":"fail","reason":"out of memory"}', NULL, '\x34182ea33af5f16803bc0f54247a6ff053db3c2d1f2a5fecb11d02452ec4ef1a');
INSERT INTO events VALUES (8, 'run-3', 1, 'run.started', 1, 1700010800000000, 1704110400000000, NULL, NULL, NULL, NULL, '{"type":"run.started","command":"train.py --seed 3","program":"train.py","project_id":"demo","tags":{"seed":"3"},"host":"build"}', NULL, '\xa4aa404836be8464a65f97f673f5639baf8105d8747cf196e11a8f28b38fafd0');
INSERT INTO events VALUES (9, 'run-3', 2, 'run.metric_logged', 1, 1700010800000001, 1704110400000000, NULL, NULL, NULL, NULL, '{"type":"run.metric_logged","name":"loss","value":0.16666666666666666,"step":3}', NULL, '\x7a0a9841a3d3a2bd33b6a7b8131c702e8ee0308246776d8370280906767ed088');
INSERT INTO events VALUES (10, 'other-1', 1, 'other.done', 1, 1700000000000000, 1704110400000000, 'k', 'anna', NULL, NULL, '{"a":[1,null]}', '{"m":1}', '\x384bdd6a9edf95f056884a97ea54a47312b49781b954bb2bf8bdca9d716ee73a');
INSERT INTO log_head VALUES (true, 3);
ALTER TABLE ONLY eventlog_migrations
    ADD CONSTRAINT eventlog_migrations_pkey PRIMARY KEY (number);
ALTER TABLE ONLY events
    ADD CONSTRAINT events_pkey PRIMARY KEY ("position");
ALTER TABLE ONLY events
    ADD CONSTRAINT events_stream_version_key UNIQUE (stream, version);
ALTER TABLE ONLY log_head
    ADD CONSTRAINT log_head_pkey PRIMARY KEY (one);
CREATE UNIQUE INDEX events_key ON events USING btree (key) WHERE (key IS NOT NULL);
CREATE TRIGGER events_no_change BEFORE DELETE OR UPDATE ON events FOR EACH ROW EXECUTE FUNCTION events_refuse();
CREATE TRIGGER events_no_truncate BEFORE TRUNCATE ON events FOR EACH STATEMENT EXECUTE FUNCTION events_refuse();
