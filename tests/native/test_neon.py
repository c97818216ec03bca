"""The NEON path: the C++ tests built for aarch64 and run under emulation, and a step counted."""

from __future__ import annotations

import subprocess

import pytest

from bench.neon import step_count
from tests.support.paths import ROOT

# both build in build/neon, one after the other
pytestmark = pytest.mark.exhaustive


def test_neon_equals_the_reference_under_emulation() -> None:
    done = subprocess.run(
        ["sh", str(ROOT / "tools" / "test_neon.sh")], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if done.stdout.startswith("skipped: "):
        pytest.skip(done.stdout.strip())
    assert "paths: reference neon" in done.stdout
    assert "100% tests passed" in done.stdout


@pytest.mark.skipif(step_count.missing() is not None, reason=f"no {step_count.missing()}")
def test_step_of_resnet4_takes_few_instructions() -> None:
    found = step_count.count_step(1)
    # a batch of one image pays for packing and updating weights alone: 8 images take a fifth less
    assert found.per_direct_mac <= 0.40
    assert found.tiles_per_executed_mac <= 0.40
    # Winograd saves two thirds and tiles' padding costs a little
    # a forward pass and its sums against a step, which has a backward pass and a teacher besides
    assert 0 < step_count.count_sums(1) < 0.6 * found.instructions
    assert found.direct_macs / 4 < found.executed_macs < found.direct_macs / 2
