"""Records in the formats of other programs. Reads the log, writes bytes; knows no database and no terminal."""
