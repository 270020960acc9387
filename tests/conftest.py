"""What all tests share: property tests that try the same cases on every machine."""

from pathlib import Path

from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir

ROOT = Path(__file__).resolve().parent.parent

set_hypothesis_home_dir(ROOT / "build" / "tools" / "hypothesis")
# Seeds are literals here: what fails once must fail again, and a slow machine is no failure.
settings.register_profile("secateur", derandomize=True, database=None, deadline=None)
settings.load_profile("secateur")
