"""Random worlds, and random things that happen to them; see :mod:`bench.scenarios`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from bench.scenarios import attempt

SEEDS = range(1, 25)
"""A sample that takes half a minute; many more run with ``python -m bench.scenarios``."""


class ScenarioTests(SynchronousTestCase):
    """What must hold in every world."""


def _test(seed: int) -> None:
    def test(self: ScenarioTests) -> None:
        """All pairs stay connected, by the best way there is, and no byte is lost."""
        failure, _ = attempt(seed)
        if failure is not None:
            self.fail(failure)

    setattr(ScenarioTests, f"test_seed_{seed}", test)


for _seed in SEEDS:
    _test(_seed)
