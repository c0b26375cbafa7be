"""The OpenAPI 3.1 document, made of the table of operations and the Structs that they take and give."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

import eventlog
from eventlog.web.guard import OPEN
from eventlog.web.operation import AS_OF, EVENT_STREAM, Download, Operation
from eventlog.web.problems import MEDIA_TYPE as PROBLEM
from eventlog.wire import Problem, StoredRecord

REF = "#/components/schemas/{name}"
AS_OF_TEXT = "Answer as of this version of the log: a position, or a time in ISO 8601."


def document(operations: Iterable[Operation]) -> bytes:
    """The document as JSON."""
    chosen = list(operations)
    wanted = [Problem, StoredRecord]
    for operation in chosen:
        wanted += [hint for hint in (operation.returns, operation.body, *operation.parts.values()) if _is_type(hint)]
        wanted += [column.type for column in operation.columns.values()]
    schemas, components = msgspec.json.schema_components(wanted, schema_hook=_hook, ref_template=REF)
    known = {repr(hint): schema for hint, schema in zip(wanted, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for operation in chosen:
        paths.setdefault(operation.documented_path, {})[operation.method.lower()] = _operation(operation, known)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "eventlog",
                "version": eventlog.__version__,
                "description": "An event-sourced execution log. Times are µs since the epoch, UTC.",
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "paths": paths,
            "components": {
                "schemas": components,
                "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            },
            "security": [{"token": []}],
        }
    )


def _is_type(hint: object) -> bool:
    return hint not in (None, type(None), bytes, Download)


def _hook(kind: type) -> dict[str, Any]:
    if kind is msgspec.Raw:
        return {}
    raise NotImplementedError


def _operation(operation: Operation, known: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.function.__module__.rpartition(".")[2]],
        "responses": _responses(operation, known),
    }
    if operation.description:
        made["description"] = operation.description
    if parameters := list(_parameters(operation, known)):
        made["parameters"] = parameters
    if operation.body is not None:
        made["requestBody"] = {
            "required": not operation.may_lack_body,
            "content": {"application/json": {"schema": known[repr(operation.body)]}},
        }
    if operation.path in OPEN:
        made["security"] = []
    return made


def _parameters(operation: Operation, known: dict[str, Any]) -> Iterable[dict[str, Any]]:
    for name, hint in operation.parts.items():
        schema = {**known[repr(hint)], "minLength": 1} if hint is str else known[repr(hint)]
        yield {"name": name, "in": "path", "required": True, "schema": schema}
    for column in operation.columns.values():
        schema = _bare(known[repr(column.type)])
        if column.is_moment:
            schema = {**schema, "type": ["integer", "string"]}
        if not column.required and column.default not in (None, msgspec.NODEFAULT):
            schema = {**schema, "default": column.default}
        yield {"name": column.name, "in": "query", "required": column.required, "schema": schema}
    if operation.time_travels:
        yield {"name": AS_OF, "in": "query", "description": AS_OF_TEXT, "schema": {"type": "string"}}
    if operation.cached or operation.downloads:
        yield {"name": "If-None-Match", "in": "header", "schema": {"type": "string"}}
    if operation.downloads:
        yield {"name": "Range", "in": "header", "schema": {"type": "string", "pattern": "^bytes=[0-9]*-[0-9]*$"}}
    if operation.streams:
        yield {"name": "Last-Event-ID", "in": "header", "schema": {"type": "string", "pattern": "^[0-9]{1,18}$"}}


def _bare(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter that may be left out is not null when it is there."""
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    return options[0] if len(options) == 1 else schema


def _responses(operation: Operation, known: dict[str, Any]) -> dict[str, Any]:
    done: dict[str, Any] = {"description": operation.summary}
    headers = {}
    if operation.streams:
        done["content"] = {EVENT_STREAM: {"schema": {"type": "string"}}}
    elif operation.returns is bytes or operation.downloads:
        done["content"] = {operation.media.partition(";")[0]: {"schema": {}}}
    elif _is_type(operation.returns):
        done["content"] = {operation.media: {"schema": known[repr(operation.returns)]}}
    if operation.cached:
        headers["ETag"] = {"description": "The version of the log, and of the tables.", "schema": {"type": "string"}}
    if operation.downloads:
        headers["ETag"] = {"description": "The file's SHA-256.", "schema": {"type": "string"}}
        headers["Content-Disposition"] = {"description": "The file's name.", "schema": {"type": "string"}}
    if operation.follows is not None:
        headers["Link"] = {
            "description": 'The next page, where there is one: rel="next".',
            "schema": {"type": "string"},
        }
    if headers:
        done["headers"] = headers
    found: dict[str, Any] = {str(operation.status): done}
    if operation.downloads:
        found["206"] = {**done, "description": "The part of it that was asked for (Range)."}
    if operation.cached or operation.downloads:
        found["304"] = {"description": "What was asked for is as it was (If-None-Match)."}
    if operation.status_of is not None:
        found["503"] = done
    problem = {PROBLEM: {"schema": {"$ref": REF.format(name="Problem")}}}
    found["default"] = {"description": "What went wrong, as problem details (RFC 9457).", "content": problem}
    return found
