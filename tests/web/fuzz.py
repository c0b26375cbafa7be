"""Everything that the document allows, and what it does not, sent to a running server by Schemathesis.

Imported inside the tests that use it: it takes long, and every process of a test run imports their modules.
"""

from __future__ import annotations

import warnings
from contextlib import suppress
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.web.support import Server

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
ENDLESS = "/api/events/stream"


def operations(document: dict[str, Any]) -> list[Any]:
    """What can be asked and comes to an end."""
    schema = schemathesis.openapi.from_dict(document)
    return [found.ok() for found in schema.get_all_operations() if found.ok().path != ENDLESS]


def send(server: Server, operation: Any, mode: str, examples: int, *, derandomize: bool) -> int:
    """Send so many requests for an operation, ``positive`` or ``negative`` ones; how many were sent.

    Raises where an answer breaks the document.
    """
    session = requests.Session()
    sent = 0

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=derandomize,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=GenerationMode(mode)))
    def ask(case: Case) -> None:
        nonlocal sent
        sent += 1
        headers = {"authorization": f"Bearer {server.token}"}
        response = case.call(base_url=server.url, session=session, headers=headers, timeout=30)
        case.validate_response(response, checks=CHECKS, headers=headers)
        if operation.path.endswith("/rollback"):
            resumed = session.post(f"{server.url}/api/projections/resume", headers=headers, timeout=30)
            assert resumed.status_code == 200, resumed.text

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's own
        with suppress(Unsatisfiable):  # where nothing can be given, nothing can be given wrong
            ask()
    session.close()
    return sent
