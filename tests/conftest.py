"""Hypothesis profiles, the quiet that TensorFlow needs, and what child processes import."""

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

# Children that tests start find the same package as the tests do, which may be an installed one:
# the folder that they start in, with sources but without compiled modules, must not come first.
_package = importlib.util.find_spec("kerasnsoc_ext")
assert _package is not None
assert _package.submodule_search_locations is not None
_places = [Path(_package.submodule_search_locations[0]).parent, Path(__file__).parents[1]]
os.environ["PYTHONSAFEPATH"] = "1"
os.environ["PYTHONPATH"] = os.pathsep.join(
    [*map(str, _places), *filter(None, [os.environ.get("PYTHONPATH")])]
)

import pytest  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

settings.register_profile(
    "ci",
    max_examples=50,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile(
    "nightly", parent=settings.get_profile("ci"), max_examples=2000, derandomize=False
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(autouse=True, scope="session")
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a user keeps of trained networks and data is neither read nor changed by tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERASNSOC_HOME", str(tmp_path_factory.mktemp("home")))
        yield


def pytest_runtest_setup() -> None:
    """Start every test from the same random state, so that none passes or fails by its weights."""
    keras = sys.modules.get("keras")
    if keras is not None:
        keras.utils.set_random_seed(7)
