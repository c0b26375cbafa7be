PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA application_id = 1165380711;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE "_sqlite_migrations" (
   "id" INTEGER PRIMARY KEY,
   "migration_set" TEXT,
   "name" TEXT,
   "applied_at" TEXT
);
INSERT INTO "_sqlite_migrations" VALUES(1,'eventlog','0001_events','2024-01-01 12:00:00+00:00');
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
COMMIT;
