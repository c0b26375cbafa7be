PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA application_id = 1165380711;
PRAGMA user_version = 3;
BEGIN TRANSACTION;
CREATE TABLE "_sqlite_migrations" (
   "id" INTEGER PRIMARY KEY,
   "migration_set" TEXT,
   "name" TEXT,
   "applied_at" TEXT
);
INSERT INTO "_sqlite_migrations" VALUES(1,'eventlog','0001_events','2024-01-01 12:00:00+00:00');
INSERT INTO "_sqlite_migrations" VALUES(2,'eventlog','0002_projections','2024-01-01 12:00:00+00:00');
INSERT INTO "_sqlite_migrations" VALUES(3,'eventlog','0003_liveness','2024-01-01 12:00:00+00:00');
CREATE TABLE events (
    position    INTEGER PRIMARY KEY CHECK (position BETWEEN 1 AND 9007199254740991),
    stream      TEXT NOT NULL,
    version     INTEGER NOT NULL CHECK (version >= 1),
    type        TEXT NOT NULL,
    schema      INTEGER NOT NULL,
    occurred_at INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL,
    key         TEXT,
    actor       TEXT,
    correlation TEXT,
    causation   TEXT,
    data        TEXT NOT NULL,
    metadata    TEXT,
    hash        BLOB NOT NULL CHECK (length(hash) = 32),
    UNIQUE (stream, version)
) STRICT;
INSERT INTO "events" VALUES(1,'project-demo',1,'project.added',1,1704110400000000,1704110400000000,NULL,NULL,NULL,NULL,'{"type":"project.added","path":"/srv/demo","note":"é"}',NULL,X'20B5DCA9870D1B4D1E5832AD8D621C67C36B8737C798DF4654089D79C39A8E65');
INSERT INTO "events" VALUES(2,'run-1',1,'run.started',1,1700003600000000,1704110400000000,NULL,NULL,NULL,NULL,'{"type":"run.started","command":"train.py --seed 1","program":"train.py","project_id":"demo","tags":{"seed":"1"},"host":"build"}',NULL,X'F2D19891BE4C69528B2A2120AB088481C75AE8CBFE01FCDB64244CAE91C00D09');
INSERT INTO "events" VALUES(3,'run-1',2,'run.metric_logged',1,1700003600000001,1704110400000000,NULL,NULL,NULL,NULL,'{"type":"run.metric_logged","name":"loss","value":0.5,"step":1}',NULL,X'19FC9EED389EDACCE8E290DB6E7F333E32D77F38F51B8B79A6ABBEABEEFEEDF1');
INSERT INTO "events" VALUES(4,'run-1',3,'run.finished',1,1700003601500000,1704110400000000,NULL,NULL,NULL,NULL,'{"type":"run.finished","status":"success","wall_us":1500000}',NULL,X'4B94D08D0FB26703146DDE1B6F11DC5F134032BB7A914BDAD9A4325865C9CBB5');
INSERT INTO "events" VALUES(5,'run-2',1,'run.started',1,1700007200000000,1704110400000000,NULL,NULL,NULL,NULL,'{"type":"run.started","command":"train.py --seed 2","program":"train.py","project_id":"demo","tags":{"seed":"2"},"host":"build"}',NULL,X'72ED7A7D7E49D32AAFE1A711373D15F18531D29304A42650F7E9CD1D0915FAD5');
INSERT INTO "events" VALUES(6,'run-2',2,'run.metric_logged',1,1700007200000001,1704110400000000,NULL,NULL,NULL,NULL,'{"type":"run.metric_logged","name":"loss","value":0.25,"step":2}',NULL,X'1CA78B9A5FC34739816E0B8ADFA7152C498F2FF03F1DADCBE768D931D687CF8C');
INSERT INTO "events" VALUES(7,'run-2',3,'run.finished',1,1700007200900000,1704110400000000,NULL,NULL,NULL,NULL,'{"type":"run.finished","status":"fail","reason":"out of memory"}',NULL,X'34182EA33AF5F16803BC0F54247A6FF053DB3C2D1F2A5FECB11D02452EC4EF1A');
INSERT INTO "events" VALUES(8,'run-3',1,'run.started',1,1700010800000000,1704110400000000,NULL,NULL,NULL,NULL,'{"type":"run.started","command":"train.py --seed 3","program":"train.py","project_id":"demo","tags":{"seed":"3"},"host":"build"}',NULL,X'A4AA404836BE8464A65F97F673F5639BAF8105D8747CF196E11A8F28B38FAFD0');
INSERT INTO "events" VALUES(9,'run-3',2,'run.metric_logged',1,1700010800000001,1704110400000000,NULL,NULL,NULL,NULL,'{"type":"run.metric_logged","name":"loss","value":0.16666666666666666,"step":3}',NULL,X'7A0A9841A3D3A2BD33B6A7B8131C702E8EE0308246776D8370280906767ED088');
INSERT INTO "events" VALUES(10,'other-1',1,'other.done',1,1700000000000000,1704110400000000,'k','anna',NULL,NULL,'{"a":[1,null]}','{"m":1}',X'384BDD6A9EDF95F056884A97EA54A47312B49781B954BB2BF8BDCA9D716EE73A');
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
INSERT INTO "projections" VALUES('projects','entity',1,'35e5d08a37055b3f',NULL,'live',NULL,NULL,1,1704110400000000);
INSERT INTO "projections" VALUES('run_artifacts','journal',1,'987ecff35a700fe8',NULL,'live',NULL,NULL,1,1704110400000000);
INSERT INTO "projections" VALUES('run_durations','rollup',1,'c7642f6692226f23',NULL,'live',NULL,NULL,1,1704110400000000);
INSERT INTO "projections" VALUES('run_messages','journal',1,'3e4b95dbe2455d94',NULL,'live',NULL,NULL,1,1704110400000000);
INSERT INTO "projections" VALUES('run_metrics','journal',1,'af362537f1dd432f',NULL,'live',NULL,NULL,1,1704110400000000);
INSERT INTO "projections" VALUES('run_outputs','journal',1,'edbc2f40a11f6806',NULL,'live',NULL,NULL,1,1704110400000000);
INSERT INTO "projections" VALUES('run_statistics','rollup',1,'8d5f0490a0e4d3c3',NULL,'live',NULL,NULL,1,1704110400000000);
INSERT INTO "projections" VALUES('runs','entity',1,'ec0af8e80051c87c',NULL,'live',NULL,NULL,1,1704110400000000);
CREATE TABLE worker_liveness (
    worker_id TEXT PRIMARY KEY,
    beat_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "worker_liveness" VALUES('w',1704110400000000);
CREATE TABLE projects (project_id TEXT NOT NULL, path TEXT, note TEXT NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, PRIMARY KEY (project_id)) STRICT, WITHOUT ROWID;
INSERT INTO "projects" VALUES('demo','/srv/demo','é',1704110400000000,1704110400000000);
CREATE TABLE run_artifacts (position INTEGER NOT NULL, run_id INTEGER NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, size_bytes INTEGER NOT NULL, sha256 TEXT NOT NULL, source TEXT, occurred_at INTEGER NOT NULL, PRIMARY KEY (position)) STRICT;
CREATE TABLE run_durations (period TEXT NOT NULL, bucket_start INTEGER NOT NULL, project_id TEXT NOT NULL, program TEXT NOT NULL, status TEXT NOT NULL, bin INTEGER NOT NULL, runs INTEGER NOT NULL, PRIMARY KEY (period, bucket_start, project_id, program, status, bin)) STRICT, WITHOUT ROWID;
INSERT INTO "run_durations" VALUES('day',1699920000000000,'demo','train.py','success',987,1);
INSERT INTO "run_durations" VALUES('day',1700006400000000,'demo','train.py','fail',941,1);
INSERT INTO "run_durations" VALUES('hour',1700002800000000,'demo','train.py','success',987,1);
INSERT INTO "run_durations" VALUES('hour',1700006400000000,'demo','train.py','fail',941,1);
CREATE TABLE run_messages (position INTEGER NOT NULL, run_id INTEGER NOT NULL, level TEXT NOT NULL, logger TEXT NOT NULL, occurred_at INTEGER NOT NULL, PRIMARY KEY (position)) STRICT;
CREATE TABLE run_metrics (position INTEGER NOT NULL, run_id INTEGER NOT NULL, name TEXT NOT NULL, value REAL, non_finite TEXT, step INTEGER, occurred_at INTEGER NOT NULL, PRIMARY KEY (position)) STRICT;
INSERT INTO "run_metrics" VALUES(3,1,'loss',0.5,NULL,1,1700003600000001);
INSERT INTO "run_metrics" VALUES(6,2,'loss',0.25,NULL,2,1700007200000001);
INSERT INTO "run_metrics" VALUES(9,3,'loss',1.66666666666666657414e-01,NULL,3,1700010800000001);
CREATE TABLE run_outputs (position INTEGER NOT NULL, run_id INTEGER NOT NULL, channel TEXT NOT NULL, size_bytes INTEGER NOT NULL, sha256 TEXT, occurred_at INTEGER NOT NULL, PRIMARY KEY (position)) STRICT;
CREATE TABLE run_statistics (period TEXT NOT NULL, bucket_start INTEGER NOT NULL, project_id TEXT NOT NULL, program TEXT NOT NULL, status TEXT NOT NULL, runs INTEGER NOT NULL, wall_us INTEGER NOT NULL, cpu_us INTEGER NOT NULL, PRIMARY KEY (period, bucket_start, project_id, program, status)) STRICT, WITHOUT ROWID;
INSERT INTO "run_statistics" VALUES('day',1699920000000000,'demo','train.py','success',1,1500000,0);
INSERT INTO "run_statistics" VALUES('day',1700006400000000,'demo','train.py','fail',1,900000,0);
INSERT INTO "run_statistics" VALUES('day',1700006400000000,'demo','train.py','running',1,0,0);
INSERT INTO "run_statistics" VALUES('hour',1700002800000000,'demo','train.py','success',1,1500000,0);
INSERT INTO "run_statistics" VALUES('hour',1700006400000000,'demo','train.py','fail',1,900000,0);
INSERT INTO "run_statistics" VALUES('hour',1700010000000000,'demo','train.py','running',1,0,0);
CREATE TABLE runs (run_id INTEGER NOT NULL, status TEXT NOT NULL, command TEXT NOT NULL, program TEXT NOT NULL, project_id TEXT, note TEXT NOT NULL, tags TEXT NOT NULL, parameters TEXT NOT NULL, created_at INTEGER NOT NULL, started_at INTEGER NOT NULL, ended_at INTEGER, updated_at INTEGER NOT NULL, exit_code INTEGER, signal INTEGER, reason TEXT, error_type TEXT, wall_us INTEGER, cpu_user_us INTEGER, cpu_system_us INTEGER, peak_memory_bytes INTEGER, argv TEXT NOT NULL, cwd TEXT, parent_run_id INTEGER, git_commit TEXT, git_branch TEXT, git_dirty INTEGER, host TEXT, machine_id TEXT, boot_id TEXT, pid INTEGER, pid_namespace INTEGER, process_started_ticks INTEGER, user TEXT, python_version TEXT, environment TEXT NOT NULL, PRIMARY KEY (run_id)) STRICT;
INSERT INTO "runs" VALUES(1,'success','train.py --seed 1','train.py','demo','','{"seed":"1"}','{}',1704110400000000,1700003600000000,1700003601500000,1704110400000000,NULL,NULL,NULL,NULL,1500000,NULL,NULL,NULL,'[]',NULL,NULL,NULL,NULL,NULL,'build',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'{}');
INSERT INTO "runs" VALUES(2,'fail','train.py --seed 2','train.py','demo','','{"seed":"2"}','{}',1704110400000000,1700007200000000,1700007200900000,1704110400000000,NULL,NULL,'out of memory',NULL,900000,NULL,NULL,NULL,'[]',NULL,NULL,NULL,NULL,NULL,'build',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'{}');
INSERT INTO "runs" VALUES(3,'running','train.py --seed 3','train.py','demo','','{"seed":"3"}','{}',1704110400000000,1700010800000000,NULL,1704110400000000,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'[]',NULL,NULL,NULL,NULL,NULL,'build',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'{}');
CREATE UNIQUE INDEX "idx__sqlite_migrations_migration_set_name"
    ON "_sqlite_migrations" ("migration_set", "name");
CREATE UNIQUE INDEX events_key ON events (key) WHERE key IS NOT NULL;
CREATE TRIGGER events_no_update BEFORE UPDATE ON events
BEGIN
    SELECT RAISE(ABORT, 'events are immutable');
END;
CREATE TRIGGER events_no_delete BEFORE DELETE ON events
BEGIN
    SELECT RAISE(ABORT, 'events are immutable');
END;
CREATE TRIGGER events_append_only BEFORE INSERT ON events
WHEN NEW.position IS NOT (SELECT coalesce(max(position), 0) + 1 FROM events)
BEGIN
    SELECT RAISE(ABORT, 'events are appended at the head');
END;
CREATE INDEX run_metrics_run_id_position ON run_metrics (run_id, position);
CREATE INDEX run_messages_run_id_position ON run_messages (run_id, position);
CREATE INDEX run_outputs_run_id_position ON run_outputs (run_id, position);
CREATE INDEX run_artifacts_run_id_position ON run_artifacts (run_id, position);
CREATE INDEX runs_status_run_id ON runs (status, run_id);
CREATE INDEX runs_project_id_run_id ON runs (project_id, run_id);
CREATE INDEX runs_program_run_id ON runs (program, run_id);
CREATE INDEX runs_created_at ON runs (created_at);
COMMIT;
