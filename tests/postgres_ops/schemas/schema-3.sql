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
CREATE TABLE projections (
    name text NOT NULL COLLATE pg_catalog."C",
    kind text NOT NULL,
    version bigint NOT NULL,
    fingerprint text NOT NULL,
    "position" bigint,
    state text NOT NULL,
    error text,
    error_position bigint,
    generation bigint DEFAULT 1 NOT NULL,
    updated_at bigint NOT NULL,
    CONSTRAINT projections_state_check CHECK ((state = ANY (ARRAY['live'::text, 'pinned'::text, 'failed'::text])))
);
CREATE TABLE projects (
    project_id text NOT NULL COLLATE pg_catalog."C",
    path text COLLATE pg_catalog."C",
    note text NOT NULL COLLATE pg_catalog."C",
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL
);
CREATE TABLE run_artifacts (
    "position" bigint NOT NULL,
    run_id bigint NOT NULL,
    kind text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    size_bytes bigint NOT NULL,
    sha256 text NOT NULL COLLATE pg_catalog."C",
    source text COLLATE pg_catalog."C",
    occurred_at bigint NOT NULL
);
CREATE TABLE run_durations (
    period text NOT NULL COLLATE pg_catalog."C",
    bucket_start bigint NOT NULL,
    project_id text NOT NULL COLLATE pg_catalog."C",
    program text NOT NULL COLLATE pg_catalog."C",
    status text NOT NULL COLLATE pg_catalog."C",
    bin bigint NOT NULL,
    runs bigint NOT NULL
);
CREATE TABLE run_messages (
    "position" bigint NOT NULL,
    run_id bigint NOT NULL,
    level text NOT NULL COLLATE pg_catalog."C",
    logger text NOT NULL COLLATE pg_catalog."C",
    occurred_at bigint NOT NULL
);
CREATE TABLE run_metrics (
    "position" bigint NOT NULL,
    run_id bigint NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    value double precision,
    non_finite text COLLATE pg_catalog."C",
    step bigint,
    occurred_at bigint NOT NULL
);
CREATE TABLE run_outputs (
    "position" bigint NOT NULL,
    run_id bigint NOT NULL,
    channel text NOT NULL COLLATE pg_catalog."C",
    size_bytes bigint NOT NULL,
    sha256 text COLLATE pg_catalog."C",
    occurred_at bigint NOT NULL
);
CREATE TABLE run_statistics (
    period text NOT NULL COLLATE pg_catalog."C",
    bucket_start bigint NOT NULL,
    project_id text NOT NULL COLLATE pg_catalog."C",
    program text NOT NULL COLLATE pg_catalog."C",
    status text NOT NULL COLLATE pg_catalog."C",
    runs bigint NOT NULL,
    wall_us bigint NOT NULL,
    cpu_us bigint NOT NULL
);
CREATE TABLE runs (
    run_id bigint NOT NULL,
    status text NOT NULL COLLATE pg_catalog."C",
    command text NOT NULL COLLATE pg_catalog."C",
    program text NOT NULL COLLATE pg_catalog."C",
    project_id text COLLATE pg_catalog."C",
    note text NOT NULL COLLATE pg_catalog."C",
    tags json NOT NULL,
    parameters json NOT NULL,
    created_at bigint NOT NULL,
    started_at bigint NOT NULL,
    ended_at bigint,
    updated_at bigint NOT NULL,
    exit_code bigint,
    signal bigint,
    reason text COLLATE pg_catalog."C",
    error_type text COLLATE pg_catalog."C",
    wall_us bigint,
    cpu_user_us bigint,
    cpu_system_us bigint,
    peak_memory_bytes bigint,
    argv json NOT NULL,
    cwd text COLLATE pg_catalog."C",
    parent_run_id bigint,
    git_commit text COLLATE pg_catalog."C",
    git_branch text COLLATE pg_catalog."C",
    git_dirty boolean,
    host text COLLATE pg_catalog."C",
    machine_id text COLLATE pg_catalog."C",
    boot_id text COLLATE pg_catalog."C",
    pid bigint,
    pid_namespace bigint,
    process_started_ticks bigint,
    "user" text COLLATE pg_catalog."C",
    python_version text COLLATE pg_catalog."C",
    environment json NOT NULL
);
CREATE TABLE worker_liveness (
    worker_id text NOT NULL COLLATE pg_catalog."C",
    beat_at bigint NOT NULL
)
WITH (fillfactor='50');
INSERT INTO eventlog_migrations VALUES (1, 'events', 1704110400000000);
INSERT INTO eventlog_migrations VALUES (2, 'projections', 1704110400000000);
INSERT INTO eventlog_migrations VALUES (3, 'liveness', 1704110400000000);
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
INSERT INTO projections VALUES ('projects', 'entity', 1, '35e5d08a37055b3f', NULL, 'live', NULL, NULL, 1, 1704110400000000);
INSERT INTO projections VALUES ('run_artifacts', 'journal', 1, '987ecff35a700fe8', NULL, 'live', NULL, NULL, 1, 1704110400000000);
INSERT INTO projections VALUES ('run_durations', 'rollup', 1, 'c7642f6692226f23', NULL, 'live', NULL, NULL, 1, 1704110400000000);
INSERT INTO projections VALUES ('run_messages', 'journal', 1, '3e4b95dbe2455d94', NULL, 'live', NULL, NULL, 1, 1704110400000000);
INSERT INTO projections VALUES ('run_metrics', 'journal', 1, 'af362537f1dd432f', NULL, 'live', NULL, NULL, 1, 1704110400000000);
INSERT INTO projections VALUES ('run_outputs', 'journal', 1, 'edbc2f40a11f6806', NULL, 'live', NULL, NULL, 1, 1704110400000000);
INSERT INTO projections VALUES ('run_statistics', 'rollup', 1, '8d5f0490a0e4d3c3', NULL, 'live', NULL, NULL, 1, 1704110400000000);
INSERT INTO projections VALUES ('runs', 'entity', 1, '655f6a2e09f21195', NULL, 'live', NULL, NULL, 1, 1704110400000000);
INSERT INTO projects VALUES ('demo', '/srv/demo', 'é', 1704110400000000, 1704110400000000);
INSERT INTO run_durations VALUES ('hour', 1700006400000000, 'demo', 'train.py', 'fail', 941, 1);
INSERT INTO run_durations VALUES ('day', 1700006400000000, 'demo', 'train.py', 'fail', 941, 1);
INSERT INTO run_durations VALUES ('hour', 1700002800000000, 'demo', 'train.py', 'success', 987, 1);
INSERT INTO run_durations VALUES ('day', 1699920000000000, 'demo', 'train.py', 'success', 987, 1);
INSERT INTO run_metrics VALUES (3, 1, 'loss', 0.5, NULL, 1, 1700003600000001);
INSERT INTO run_metrics VALUES (6, 2, 'loss', 0.25, NULL, 2, 1700007200000001);
INSERT INTO run_metrics VALUES (9, 3, 'loss', 0.16666666666666666, NULL, 3, 1700010800000001);
INSERT INTO run_statistics VALUES ('hour', 1700006400000000, 'demo', 'train.py', 'fail', 1, 900000, 0);
INSERT INTO run_statistics VALUES ('day', 1700006400000000, 'demo', 'train.py', 'fail', 1, 900000, 0);
INSERT INTO run_statistics VALUES ('hour', 1700002800000000, 'demo', 'train.py', 'success', 1, 1500000, 0);
INSERT INTO run_statistics VALUES ('day', 1699920000000000, 'demo', 'train.py', 'success', 1, 1500000, 0);
INSERT INTO run_statistics VALUES ('hour', 1700010000000000, 'demo', 'train.py', 'running', 1, 0, 0);
INSERT INTO run_statistics VALUES ('day', 1700006400000000, 'demo', 'train.py', 'running', 1, 0, 0);
INSERT INTO runs VALUES (2, 'fail', 'train.py --seed 2', 'train.py', 'demo', '', '{"seed":"2"}', '{}', 1704110400000000, 1700007200000000, 1700007200900000, 1704110400000000, NULL, NULL, 'out of memory', NULL, 900000, NULL, NULL, NULL, '[]', NULL, NULL, NULL, NULL, NULL, 'build', NULL, NULL, NULL, NULL, NULL, NULL, NULL, '{}');
INSERT INTO runs VALUES (1, 'success', 'train.py --seed 1', 'train.py', 'demo', '', '{"seed":"1"}', '{}', 1704110400000000, 1700003600000000, 1700003601500000, 1704110400000000, NULL, NULL, NULL, NULL, 1500000, NULL, NULL, NULL, '[]', NULL, NULL, NULL, NULL, NULL, 'build', NULL, NULL, NULL, NULL, NULL, NULL, NULL, '{}');
INSERT INTO runs VALUES (3, 'running', 'train.py --seed 3', 'train.py', 'demo', '', '{"seed":"3"}', '{}', 1704110400000000, 1700010800000000, NULL, 1704110400000000, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '[]', NULL, NULL, NULL, NULL, NULL, 'build', NULL, NULL, NULL, NULL, NULL, NULL, NULL, '{}');
INSERT INTO worker_liveness VALUES ('w', 1704110400000000);
ALTER TABLE ONLY eventlog_migrations
    ADD CONSTRAINT eventlog_migrations_pkey PRIMARY KEY (number);
ALTER TABLE ONLY events
    ADD CONSTRAINT events_pkey PRIMARY KEY ("position");
ALTER TABLE ONLY events
    ADD CONSTRAINT events_stream_version_key UNIQUE (stream, version);
ALTER TABLE ONLY worker_liveness
    ADD CONSTRAINT worker_liveness_pkey PRIMARY KEY (worker_id);
ALTER TABLE ONLY log_head
    ADD CONSTRAINT log_head_pkey PRIMARY KEY (one);
ALTER TABLE ONLY projections
    ADD CONSTRAINT projections_pkey PRIMARY KEY (name);
ALTER TABLE ONLY projects
    ADD CONSTRAINT projects_pkey PRIMARY KEY (project_id);
ALTER TABLE ONLY run_artifacts
    ADD CONSTRAINT run_artifacts_pkey PRIMARY KEY ("position");
ALTER TABLE ONLY run_durations
    ADD CONSTRAINT run_durations_pkey PRIMARY KEY (period, bucket_start, project_id, program, status, bin);
ALTER TABLE ONLY run_messages
    ADD CONSTRAINT run_messages_pkey PRIMARY KEY ("position");
ALTER TABLE ONLY run_metrics
    ADD CONSTRAINT run_metrics_pkey PRIMARY KEY ("position");
ALTER TABLE ONLY run_outputs
    ADD CONSTRAINT run_outputs_pkey PRIMARY KEY ("position");
ALTER TABLE ONLY run_statistics
    ADD CONSTRAINT run_statistics_pkey PRIMARY KEY (period, bucket_start, project_id, program, status);
ALTER TABLE ONLY runs
    ADD CONSTRAINT runs_pkey PRIMARY KEY (run_id);
CREATE UNIQUE INDEX events_key ON events USING btree (key) WHERE (key IS NOT NULL);
CREATE INDEX run_artifacts_run_id_position_idx ON run_artifacts USING btree (run_id, "position");
CREATE INDEX run_messages_run_id_position_idx ON run_messages USING btree (run_id, "position");
CREATE INDEX run_metrics_run_id_position_idx ON run_metrics USING btree (run_id, "position");
CREATE INDEX run_outputs_run_id_position_idx ON run_outputs USING btree (run_id, "position");
CREATE INDEX runs_created_at_idx ON runs USING btree (created_at);
CREATE INDEX runs_program_run_id_idx ON runs USING btree (program, run_id);
CREATE INDEX runs_project_id_run_id_idx ON runs USING btree (project_id, run_id);
CREATE INDEX runs_status_run_id_idx ON runs USING btree (status, run_id);
CREATE TRIGGER events_no_change BEFORE DELETE OR UPDATE ON events FOR EACH ROW EXECUTE FUNCTION events_refuse();
CREATE TRIGGER events_no_truncate BEFORE TRUNCATE ON events FOR EACH STATEMENT EXECUTE FUNCTION events_refuse();
