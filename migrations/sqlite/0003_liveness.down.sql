DROP TABLE worker_liveness;
