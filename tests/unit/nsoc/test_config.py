"""Configurations: JSON, digest, schema, and one failing example per rule."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import kerasnsoc.nsoc
from kerasnsoc.nsoc.config import (
    XY,
    BalancerConfig,
    DecimatorConfig,
    DestinationConfig,
    MapShape,
    NSoCConfig,
    ReadoutConfig,
    to_chip_order,
)
from kerasnsoc.nsoc.core_graph import Destination, DvsLayer
from kerasnsoc.nsoc.errors import ConfigValidationError, InvalidGraphError, NotDiscretizedError
from tests.nsoc_graphs import chain, config_of, core_layer, random_graph

SCHEMA = Path(kerasnsoc.nsoc.__file__).parent / "config.schema.json"


def errors(config, device=None):
    return {p.code for p in config.validate(device) if p.severity == "error"}


@pytest.fixture(scope="module")
def schema():
    jsonschema = pytest.importorskip("jsonschema")
    content = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(content)
    return jsonschema.Draft202012Validator(content)


def test_100_random_configurations_survive_json_and_match_the_schema(schema):
    for seed in range(100):
        config = config_of(random_graph(seed), "dynapcnndevkit" if seed % 2 else "speck2f")
        text = config.to_json()
        again = NSoCConfig.from_json(text)
        assert again == config
        assert again.to_json() == text
        assert again.sha256() == config.sha256()
        schema.validate(json.loads(text))
        assert not errors(config)


def test_indented_text_is_the_same_configuration():
    config = config_of(chain())
    assert NSoCConfig.from_json(config.to_json(indent=2)) == config
    assert "\n" not in config.to_json()


def test_any_change_changes_the_digest():
    config, other = config_of(chain()), config_of(chain())
    assert config == other
    other.cores[1].weights[0, 0, 0, 0] += 1
    assert config != other
    assert config.sha256() != other.sha256()
    assert config != "config"


def test_chip_order_exchanges_the_axes():
    config = config_of(random_graph(3))
    core = config.cores[0]
    weights, initial = to_chip_order(core)
    assert (weights[:, :, 2, 0] == core.weights[:, :, 0, 2]).all()
    assert (initial == core.neurons_initial_value.swapaxes(1, 2)).all()


def test_kill_bits_mark_zeros_on_the_chips_that_have_them():
    graph = random_graph(1)
    graph.layers[0].weights[0] = 0
    core = config_of(graph, "speck2b").cores[0]
    assert core.kill_bits.weights[0].all()
    assert not core.kill_bits.neurons_value.any()
    assert (core.kill_bits.biases == (core.biases == 0)).all()
    assert config_of(graph, "speck2f").cores[0].kill_bits is None


def test_floats_have_no_configuration():
    graph = chain()
    layers = tuple(replace(layer, quant_scale=None) for layer in graph.layers)
    with pytest.raises(NotDiscretizedError, match="layer0: its weights are floats"):
        config_of(replace(graph, layers=layers))


def test_one_spike_function_for_all_in_packet_mode():
    graph = chain()
    layers = (replace(graph.layers[0], spike_fn=("max", 3)), graph.layers[1])
    with pytest.raises(InvalidGraphError, match="2 different spike_fn"):
        config_of(replace(graph, layers=layers), "loihi")
    config = config_of(replace(graph, layers=(layers[0], replace(layers[1], spike_fn=("max", 3)))))
    assert (config.numeric.spike_fn, config.numeric.max_spikes) == ("max", 3)


# --- reading --------------------------------------------------------------------------------------


def edited(edit):
    content = json.loads(config_of(chain()).to_json())
    edit(content)
    return json.dumps(content)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c.update(schema="x"), "no configuration of a chip"),
        (lambda c: c.update(version=2), "version 2, this release reads version 1"),
        (lambda c: c.update(version=True), "version True"),
        (lambda c: c.update(more=1), "unknown member 'more'"),
        (lambda c: c.pop("numeric"), "has no member 'numeric'"),
        (lambda c: c["cores"][0].update(extra=1), r"cores\[0\] has the unknown member 'extra'"),
        (lambda c: c["cores"][0].pop("weights"), r"must have the member 'weights' or 'graded'"),
        (lambda c: c["cores"][0].update(core=1.5), "core is 1.5, but must be an integer"),
        (lambda c: c["cores"][0].update(leak_enable=1), "leak_enable is 1, but must be true or"),
        (lambda c: c["cores"][0].update(name=None), "name is None, but must be a string"),
        (lambda c: c["cores"][0]["weights"].update(dtype="object"), "holds 'object', but must"),
        (lambda c: c["cores"][0]["weights"].update(shape=[1]), "bytes, but .* of int8 are 1"),
        (lambda c: c["cores"][0]["weights"].update(shape=[-1]), "lengths are at least 0"),
        (lambda c: c["cores"][0]["weights"].update(b64="§"), "is no base64"),
        (lambda c: c["cores"][0]["weights"].update(x=1), "an array has dtype, shape and b64"),
        (lambda c: c["cores"][0].update(weights=[1]), "but must be an object with dtype"),
        (lambda c: c["numeric"].update(mode="no"), r"mode is 'no', but must be one of"),
        (lambda c: c.update(slow_clock_hz="1"), "slow_clock_hz is '1', but must be a finite"),
        (lambda c: c.update(cores={}), "cores is {}, but must be a list"),
        (lambda c: c["timing"].update(t_syn=None), "t_syn is None"),
    ],
)
def test_a_bad_text_says_what_is_wrong(edit, message):
    with pytest.raises(ConfigValidationError, match=message):
        NSoCConfig.from_json(edited(edit))


@pytest.mark.parametrize("text", ["", "[", "3", '{"a": NaN}', "[" * 100_000])
def test_text_that_is_no_configuration(text):
    with pytest.raises(ConfigValidationError, match=r"is no JSON|no configuration"):
        NSoCConfig.from_json(text)


def test_numbers_that_json_lacks_are_refused():
    config = config_of(chain())
    config.slow_clock_hz = float("nan")
    with pytest.raises(ConfigValidationError, match="nan is not finite"):
        config.to_json()


# --- rules ----------------------------------------------------------------------------------------


def kernel(config, x, y):
    core = config.cores[0]
    core.weights = np.ones((2, 1, y, x), np.int8)
    core.dimensions.kernel_size = XY(x, y)


def set_core(**members):
    def change(config):
        for name, value in members.items():
            setattr(config.cores[0], name, value)

    return change


def set_dims(**members):
    def change(config):
        for name, value in members.items():
            setattr(config.cores[0].dimensions, name, value)

    return change


def first_weight(value):
    def change(config):
        core = config.cores[0]
        core.weights = core.weights.astype(np.int16)
        core.weights[0, 0, 0, 0] = value

    return change


def pooled(x, y):
    def change(config):
        config.cores[0].destinations[0].pooling = XY(x, y)

    return change


def shifted(config):
    config.cores[0].destinations[0].feature_shift = 1


def lost(config):
    config.cores[0].destinations[0].layer = 8


def thrice(config):
    config.cores[0].destinations *= 3


def circle(config):
    config.cores[1].destinations.append(DestinationConfig(0))


def twice_on_one_core(config):
    config.cores[1].core = 0


def unreachable(config):
    config.cores[0].destinations = [DestinationConfig(None)]


def no_entry(config):
    config.input.destinations = []


def no_exit(config):
    config.cores[1].destinations = []
    config.cores[1].monitor_enable = False


def decimated(interval):
    return set_core(output_decimator=DecimatorConfig(True, interval))


def unequal_sources(config):
    config.cores[0].destinations += [DestinationConfig(1, pooling=XY(2, 2))]


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("R01", lambda c: kernel(c, 3, 1)),
        ("R02", lambda c: kernel(c, 17, 17)),
        ("R02", lambda c: set_dims(kernel_size=XY(5, 5))(c)),
        ("R03", set_dims(stride=XY(3, 1))),
        ("R04", set_dims(padding=XY(1, 8))),
        ("R05", set_dims(input_shape=MapShape(XY(129, 8), 1))),
        ("R06", set_dims(output_shape=MapShape(XY(65, 8), 2))),
        ("R06", set_dims(output_shape=MapShape(XY(0, 8), 2))),
        ("R07", set_dims(output_shape=MapShape(XY(8, 8), 1025))),
        ("R07", set_dims(input_shape=MapShape(XY(8, 8), 0))),
        ("R08", first_weight(128)),
        ("R08", set_core(weights=np.ones((2, 1, 3, 3), np.float32))),
        ("R09", set_core(biases=np.array([0, -129], np.int16))),
        ("R09", set_core(biases=np.zeros(3, np.int16))),
        ("R10", set_core(threshold_high=0)),
        ("R10", set_core(threshold_low=1)),
        ("R10", set_core(threshold_high=2**15)),
        ("R11", set_core(neurons_initial_value=np.full((2, 8, 8), 2**15, np.int32))),
        ("R11", set_core(neurons_initial_value=np.zeros((2, 8, 7), np.int16))),
        ("R12", pooled(3, 3)),
        ("R12", pooled(2, 1)),
        ("R12", pooled(0, 0)),
        ("R13", thrice),
        ("R14", lost),
        ("R15", pooled(2, 2)),
        ("R15", shifted),
        ("R16", set_core(core=0, weights=np.ones((2, 1024, 16, 16), np.int8))),
        ("R17", twice_on_one_core),
        ("R17", set_core(core=9)),
        ("R18", circle),
        ("R19", unequal_sources),
        ("R21", set_dims(output_shape=MapShape(XY(64, 64), 128))),
        ("R22", set_dims(output_shape=MapShape(XY(7, 8), 2))),
        ("R24", decimated(3)),
        ("R24", set_core(congestion_balancer=BalancerConfig(True, -1))),
        ("R25", lambda c: setattr(c, "readout", ReadoutConfig(True, 7))),
        ("R25", lambda c: setattr(c, "readout", ReadoutConfig(True, 1, window=5))),
        ("R26", unreachable),
        ("R26", no_entry),
        ("R26", no_exit),
    ],
)
def test_every_rule_has_its_failing_example(code, change):
    config = config_of(chain())
    assert not config.validate()
    change(config)
    problems = [p for p in config.validate() if p.code == code and p.severity == "error"]
    assert problems
    assert all(p.message for p in problems)


SENSOR = DvsLayer((16, 16), pool=(2, 2), crop=((1, 7), (0, 8)))


@pytest.mark.parametrize(
    "change",
    [
        lambda dvs: setattr(dvs, "input_shape", MapShape(XY(129, 16), 2)),
        lambda dvs: setattr(dvs, "input_shape", MapShape(XY(16, 16), 3)),
        lambda dvs: setattr(dvs, "pooling", XY(3, 3)),
        lambda dvs: setattr(dvs, "origin", XY(5, 7)),
        lambda dvs: setattr(dvs, "cut", XY(8, 6)),
    ],
)
def test_r20_the_sensor_layer(change):
    config = config_of(chain(dvs=SENSOR))
    assert not config.validate()
    change(config.dvs)
    assert "R20" in errors(config)


def test_r13_and_r20_where_the_chip_has_no_sensor_or_too_few_ways():
    config = config_of(chain(dvs=SENSOR))
    config.dvs.destinations *= 3
    assert "R13" in errors(config)
    assert "R20" in {p.code for p in config_of(chain(dvs=SENSOR), "loihi").validate()}


def test_r23_biases_without_a_clock_are_a_warning():
    graph = chain(bias=np.array([1, 0], np.int16))
    config = config_of(graph)
    assert {(p.code, p.severity) for p in config.validate()} == {("R23", "warning")}
    config.slow_clock_hz = 10.0
    assert not config.validate()
    config.slow_clock_hz = -1.0
    assert "R23" in errors(config)


def test_r27_neurons_that_forget_between_packets_are_a_warning():
    config = config_of(chain(), "akd1000")
    (problem,) = config.validate()
    assert (problem.code, problem.severity) == ("R27", "warning")
    assert "as one packet, or use a device that keeps them ('loihi')" in problem.message
    config.numeric.persistent = True
    assert not config.validate()
    assert "R27" not in {p.code for p in config_of(chain(), "loihi").validate()}


def test_r24_blocks_that_older_chips_lack():
    config = config_of(chain(), "speck2b")
    config.cores[0].output_decimator.enable = True
    config.cores[0].congestion_balancer.enable = True
    messages = [p.message for p in config.validate() if p.code == "R24"]
    assert "it has no such block" in messages[0]
    assert "has no such block" in messages[1]


def test_r25_the_readout():
    config = config_of(chain(features=1), "speck2b")
    config.readout = ReadoutConfig(True, 1)
    assert "R25" in errors(config)
    config = config_of(chain(), "speck2f")
    config.readout = ReadoutConfig(True, 1)
    (problem,) = config.validate()
    assert (problem.code, problem.severity) == ("R25", "warning")
    assert "extend_readout_layer" in problem.message
    config = config_of(chain(1, features=61), "speck2f")
    config.readout = ReadoutConfig(True, 0)
    assert any("16 classes, but the readout" in p.message for p in config.validate())


def test_rules_of_a_mesh():
    config = config_of(chain(), "loihi")
    assert not config.validate()
    config.cores[1].neural_processors = [*config.cores[0].neural_processors, 999]
    messages = [p.message for p in config.validate() if p.code == "R17"]
    assert "already holds layer0" in messages[0]
    assert "processor 999 does not exist" in messages[1]


def test_a_problem_reads_as_a_sentence():
    config = config_of(chain())
    kernel(config, 3, 1)
    problem = config.validate()[0]
    assert str(problem).startswith("R01 layer0: kernel 3x1 (x, y) is not square. Pad the kernel")


def test_entries_and_exits():
    graph = chain()
    config = config_of(graph)
    assert (config.entries(), config.exits()) == ([0], [1])
    assert config.core_of(1) is config.cores[1]
    assert config.core_of(7) is None
    assert graph.entry == (0,)
    layer = core_layer(destinations=(Destination(None), Destination(3)))
    assert layer.fan_out == 1
