"""The tests.

Hypothesis judges no example by the time it takes: machines that run tests are busy.
"""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "tests", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tests")
