"""The HTTP interface: thin routes that parse, make one call, and answer in JSON. `server.serve` runs it.

`table` lists every operation; the routes and the OpenAPI document are both made of it. `endpoint` runs one,
`guard` stands before all of them, `problems` says what an error becomes.
"""
