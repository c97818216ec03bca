"""Requests that schemathesis makes of the service's own OpenAPI document: as it says, and not."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from typing import Any

from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis.errors import Unsatisfiable

from pyedge.serve.app import inner_app


def generated(url: str, token: str, count: int) -> Counter[int]:
    """Make up to `count` requests, the same number for each address; return their statuses.

    Fewer where an address has not so many different ones. Fails at a status of 500 and above.
    """
    import schemathesis
    from schemathesis import GenerationMode

    document = inner_app(None).openapi()
    operations = [
        each.ok() for each in schemathesis.openapi.from_dict(document).get_all_operations()
    ]
    examples = math.ceil(count / len(operations) / 2)
    found: Counter[int] = Counter()

    def send(case: Any) -> None:
        answer = case.call(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=30)
        found[answer.status_code] += 1
        assert answer.status_code < 500, (case.method, case.formatted_path, answer.text[:500])
        assert "Traceback" not in answer.text

    chosen = settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
    )
    for operation in operations:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of strategies that find little
                try:
                    chosen(given(case=operation.as_strategy(generation_mode=mode))(send))()
                except Unsatisfiable:  # nothing of this address can be wrong
                    continue
    return found
