"""Programs that use a log and get killed, starved or confused: ``python -m workers FUNCTION PATH ARGUMENTS…``."""
