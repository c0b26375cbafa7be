"""Where records live: the protocol (`base`), one module a database, and migrations."""
