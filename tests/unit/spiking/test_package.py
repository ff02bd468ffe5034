"""The names that code written for other packages expects, and what a missing Keras says."""

import importlib
import subprocess
import sys

import pytest

pytest.importorskip("keras")

import kerasnsoc
import kerasnsoc.spiking as keras_spiking

pytestmark = pytest.mark.keras

MODULES = {
    "layers": [
        "KerasSpikingCell",
        "KerasSpikingLayer",
        "SpikingActivationCell",
        "SpikingActivation",
        "LowpassCell",
        "Lowpass",
        "AlphaCell",
        "Alpha",
    ],
    "cells": ["IAFCell", "LIFCell", "LowpassCell", "AlphaCell", "SpikingActivationCell"],
    "regularizers": ["RangedRegularizer", "L1L2", "L1", "L2", "Percentile"],
    "constraints": ["Mean"],
    "callbacks": ["DtScheduler", "SpikeRateMonitor"],
    "config": ["DefaultManager", "default"],
    "model_energy": ["ModelEnergy", "dense_stats"],
    "version": ["version_info", "version", "dev"],
}


@pytest.mark.parametrize(("module", "names"), MODULES.items())
def test_submodules(module, names):
    found = getattr(keras_spiking, module)
    assert found is importlib.import_module(f"kerasnsoc.spiking.{module}")
    for name in names:
        assert hasattr(found, name)


def test_names_at_the_top():
    for name in keras_spiking.__all__:
        assert getattr(keras_spiking, name) is not None
    assert keras_spiking.default is keras_spiking.config.default
    assert set(dir(keras_spiking)) == set(keras_spiking.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        keras_spiking.nonsense  # noqa: B018


def test_the_version_is_the_package_version():
    version = keras_spiking.version
    dev = "" if version.dev is None else f".dev{version.dev}"
    assert ".".join(version.version_info) + dev == version.version == kerasnsoc.__version__


def test_the_estimator_lives_with_the_other_energies():
    from kerasnsoc.energy.model_energy import ModelEnergy

    assert keras_spiking.ModelEnergy is ModelEnergy


@pytest.mark.parametrize("module", ["kerasnsoc.spiking", "kerasnsoc.energy.model_energy"])
def test_without_keras_the_extra_is_named(module):
    code = f"import sys; sys.modules['keras'] = None; import {module}"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith("ImportError")
    assert 'pip install "kerasnsoc[train]"' in last
