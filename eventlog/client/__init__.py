"""The log behind a server: `eventlog.open("http://host:port")` gives a `RemoteLog` with the repositories of a `Log`."""
