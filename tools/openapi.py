"""Write docs/openapi.json, the description of the service's addresses.

python -m tools.openapi
"""

from __future__ import annotations

import json
from pathlib import Path

from pyedge.serve.app import inner_app

TARGET = Path(__file__).resolve().parent.parent / "docs" / "openapi.json"


def main() -> None:
    """Write the document."""
    TARGET.write_text(json.dumps(inner_app(None).openapi(), indent=1) + "\n", encoding="utf-8")
    print(TARGET)


if __name__ == "__main__":
    main()
