"""What all tests share: one thread each, since pytest runs them on all processors."""

from __future__ import annotations

import os

# before numpy, torch or the extension is imported
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
