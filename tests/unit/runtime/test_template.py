"""Architectures in YAML."""

import sys

import numpy as np
import pytest

from kerasnsoc.runtime import ConvolutionMode, Model, PoolingType

GOOD = """
layers:
  - {type: InputData, name: input, input_width: 8, input_height: 6, input_channels: 1}
  - type: Convolutional
    name: conv
    kernel_width: 3
    kernel_height: 3
    num_neurons: 2
    convolution_mode: Valid
    pooling_type: Average
    threshold_fire_step: 2
  - {type: FullyConnected, name: left, num_neurons: 3, activations_enabled: false}
  - {type: FullyConnected, name: right, num_neurons: 2, activations_enabled: false, inbound: [conv]}
  - {type: Concat, name: join, inbound: [right, left], threshold_fire: 40}
"""


@pytest.fixture
def template(tmp_path):
    pytest.importorskip("yaml")

    def write(text, name="net.yml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize("name", ["net.yml", "net.YAML"])
def test_a_network_from_a_template(template, name):
    model = Model(template(GOOD, name))
    assert [layer.name for layer in model.layers] == ["input", "conv", "left", "right", "join"]
    conv = model.get_layer("conv")
    assert conv.parameters.convolution_mode is ConvolutionMode.Valid
    assert conv.parameters.pooling_type is PoolingType.Average
    assert conv.get_variable("threshold_fire_step").tolist() == [2.0, 2.0]
    assert [layer.name for layer in model.get_layer("join").inbounds] == ["right", "left"]
    assert model.get_layer("join").get_variable("threshold_fire").tolist() == [40] * 5
    assert not model.get_layer("left").get_variable("weights").any()
    assert model.forward(np.zeros((1, 8, 6, 1), np.uint8)).shape == (1, 1, 1, 5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "single key 'layers'"),
        ("- 1", "single key 'layers'"),
        ("layers: 3", "'layers' must be a list"),
        ("layers: []\nmore: 1", "single key 'layers'"),
        ("layers: []", "'layers' is empty.*begins with an input layer.*InputData"),
        ("layers: [3]", "layer 0 is a int"),
        ("layers: [{name: x}]", "layer 0 has the type None.*InputData"),
        ("layers: [{type: [1]}]", r"layer 0 has the type \[1\]"),
        ("layers: [{type: Dropout}]", "'Dropout'.*FullyConnected"),
        ("layers: [{type: FullyConnected, num_neurons: 1}]", "first layer"),
        (
            "layers: [{type: InputData, input_width: 1, input_height: 1}]",
            r"layer 0 \(InputData\) lacks 'input_channels'; it needs \['input_width'",
        ),
        (
            "layers: [{type: InputData, input_width: 1, input_height: 1, input_channels: 1}, "
            "{type: Convolutional, num_neurons: 2}]",
            r"layer 1 \(Convolutional\) lacks 'kernel_width' and 'kernel_height'; it needs",
        ),
        (
            "layers: [{type: InputData, input_width: 1, input_height: 1, input_channels: 1}, "
            "{type: FullyConnected, num_neurons: ten}]",
            r"layer 1 \(FullyConnected\): num_neurons is 'ten'.*an integer from 1",
        ),
        (
            "layers: [{type: InputData, input_width: 1, input_height: 1, input_channels: 1}, "
            "{type: FullyConnected, num_neurons: 1, name: 7}]",
            r"layer 1 \(FullyConnected\): name is 7, but must be a string",
        ),
        (
            "layers: [{type: InputData, input_width: 2, input_height: 2, input_channels: 1}, "
            "{type: Convolutional, kernel_width: 3, kernel_height: 3, num_neurons: 1, "
            "convolution_mode: Valid}]",
            r"layer 1 \(Convolutional\): .*a window of 3 does not fit into 2",
        ),
        (
            "layers: [{type: InputData, input_width: 1, input_height: 1, input_channels: 0}]",
            "input_channels is 0",
        ),
        (
            "layers: [{type: InputData, input_width: 1, input_height: 1, depth: 1}]",
            "takes no 'depth'",
        ),
        (
            "layers: [{type: InputData, input_width: 1, input_height: 1, input_channels: 1, 3: 1}]",
            "takes no 3",
        ),
        (
            "layers: [{type: Convolutional, kernel_width: 1, kernel_height: 1, num_neurons: 1, "
            "convolution_mode: same}]",
            r"convolution_mode is 'same'.*'Same'",
        ),
        (
            "layers: [{type: Convolutional, kernel_width: 1, kernel_height: 1, num_neurons: 1, "
            "pooling_type: [Max]}]",
            r"pooling_type is \['Max'\]",
        ),
        (
            "layers: [{type: InputData, input_width: 1, input_height: 1, input_channels: 1, "
            "inbound: x}]",
            "inbound is 'x'",
        ),
        ("layers: [{type: FullyConnected, num_neurons: 1, inbound: [x]}]", "'x' is no earlier"),
        ("layers: [{type: InputData, input_width: 1, input_width: 2}]", "appears twice"),
        ("a: &a [1]\nlayers: [*a]", "aliases"),
        ("layers: !!python/object/apply:os.getcwd []", "no valid YAML"),
        ("layers: [", "no valid YAML"),
        ("\x00", "no valid YAML"),
        ("[" * 5000, "nested too deeply|no valid YAML"),
        ("? [1, 2]\n: 3", "no valid YAML|single key"),
        ("layers: []" + "#" * (1 << 20), "larger than 1048576 bytes"),
    ],
)
def test_wrong_templates_are_refused(template, text, message):
    path = template(text)
    with pytest.raises(ValueError, match=message) as caught:
        Model(path)
    assert type(caught.value) is ValueError
    assert "net.yml" in str(caught.value)


def test_a_missing_template():
    with pytest.raises(FileNotFoundError):
        Model("nowhere.yaml")


def test_without_pyyaml(template, monkeypatch):
    path = template(GOOD)
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ImportError, match=r"kerasnsoc\[yaml\]"):
        Model(path)
