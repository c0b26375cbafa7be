DROP TABLE log_head;
DROP TABLE events;
DROP FUNCTION events_refuse();
