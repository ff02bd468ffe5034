"""The device table and its registry."""

import numpy as np
import pytest

from kerasnsoc.energy import EnergyDevice, Quantity, devices, get_device, list_devices
from kerasnsoc.energy.devices import _TABLE, register_device

PARITY = {
    "cpu": (False, 8.6e-9, 8.6e-9),
    "gpu": (False, 0.3e-9, 0.3e-9),
    "arm": (False, 0.9e-9, 0.9e-9),
    "loihi": (True, 27.1e-12, 81e-12),
    "spinnaker": (True, 13.3e-9, 26e-9),
    "spinnaker2": (True, 450e-12, 2.19e-9),
    "cmos45-ann": (False, 4.6e-12, 4.6e-12),
    "cmos45-snn": (True, 0.9e-12, 0.9e-12),
}
SURVEYED_PJ = {
    "odin": 12.7,
    "reckon": 5.3,
    "ubrain": 26,
    "tianjic": 1.54,
    "neuronflow": 20,
    "seneca": 2.8,
    "truenorth-survey": 2.5,
    "loihi-survey": 23.6,
    "spinnaker-survey": 45,
    "spinnaker2-survey": 10,
}


@pytest.mark.parametrize("name", PARITY)
def test_figures_that_other_tools_use_too(name):
    device = get_device(name)
    synop, neuron = device.energy_per_synop.value, device.energy_per_neuron.value
    assert (device.spiking, synop, neuron) == PARITY[name]


@pytest.mark.parametrize("name", SURVEYED_PJ)
def test_surveyed_devices_leave_neuron_updates_open(name):
    device = get_device(name)
    assert device.spiking
    assert device.energy_per_synop.value == pytest.approx(SURVEYED_PJ[name] * 1e-12, rel=1e-15)
    assert device.energy_per_synop.grade == "P"
    assert device.energy_per_neuron.value is None


def test_every_device_of_the_table_is_expected():
    further = {"truenorth", "akd1000", "loihi2", "speck2f"}
    assert set(list_devices()) == {*PARITY, *SURVEYED_PJ, *further}
    assert list(list_devices()) == sorted(list_devices())


def test_published_spreads_are_kept():
    def interval(name):
        return get_device(name).energy_per_synop.interval

    assert interval("loihi") == (26.6e-12, 27.1e-12, 44e-12)
    assert interval("spinnaker") == (45e-12, 13.3e-9, 13.3e-9)
    assert interval("spinnaker2") == (10e-12, 450e-12, 450e-12)
    assert interval("truenorth") == (2.5e-12, 26e-12, 26e-12)
    assert get_device("loihi").energy_per_neuron.interval == (52e-12, 81e-12, 81e-12)
    assert get_device("cmos45-snn").energy_per_neuron.high == 4.6e-12


def test_the_two_accountings_never_mix():
    for device in _TABLE:
        quoted = [q.source for q in device.quantities.values() if q.value is not None]
        surveyed = [source.startswith("Tang") for source in quoted]
        assert all(surveyed) or not any(surveyed), device.name


def test_the_akida_figure_follows_from_the_board_measurement():
    joules_per_frame = (1.021 - 0.91223) / 43.48
    derived = joules_per_frame / 350.5e6
    figure = get_device("akd1000").energy_per_synop
    assert figure.value == pytest.approx(derived, rel=0.01)  # published to two digits
    assert figure.grade == "D"
    assert not get_device("akd1000").spiking  # derived per dense operation


def test_nobody_guesses_loihi2():
    device = get_device("loihi2")
    assert device.energy_per_synop.value is None
    assert device.energy_per_neuron.value is None


def test_every_figure_has_a_source_and_every_assumption_a_name():
    assumed = [value for name, value in vars(devices).items() if name.startswith("ASSUMED_")]
    assert assumed
    assert all(quantity.grade == "A" for quantity in assumed)
    for device in _TABLE:
        assert device.note or device.name in ("cpu",), device.name
        for name, quantity in device.quantities.items():
            assert quantity.source.strip(), (device.name, name)
            is_named = any(quantity is constant for constant in assumed)
            assert is_named == (quantity.grade == "A"), (device.name, name)


def test_names_are_case_insensitive_and_the_micro_sign_may_be_written_u():
    assert get_device(" LOIHI ").name == "loihi"
    assert get_device("µBrain") is get_device("ubrain")
    assert get_device("μBrain") is get_device("ubrain")
    device = get_device("loihi")
    assert get_device(device) is device


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"Energy specs unknown for device 'lohi'.*cpu.*loihi"):
        get_device("lohi")


def test_a_name_of_another_type_is_refused():
    with pytest.raises(TypeError, match="named by a str"):
        get_device(3)


def test_registering_adds_a_device_with_its_source():
    device = register_device("My-Dev", 1e-12, 2e-12, True, source="our lab", note="at 0.8 V")
    assert get_device("MY-DEV") is device
    assert device.energy_per_synop == Quantity.exact(1e-12, "J", "S", "our lab")
    assert (device.spiking, device.note) == (True, "at 0.8 V")
    assert "my-dev" in list_devices()


def test_a_number_without_source_counts_as_assumed():
    device = register_device("mine", np.float32(0.5), 0, False)
    assert device.energy_per_synop.grade == "A"
    assert "without a source" in device.energy_per_neuron.source
    assert device.energy_per_neuron.value == 0.0


def test_a_quantity_keeps_its_interval_and_none_stays_unknown():
    figure = Quantity(2e-12, 1e-12, 3e-12, "J", "P", "paper")
    device = register_device("mine", figure, None, True)
    assert device.energy_per_synop is figure
    assert device.energy_per_neuron.value is None


def test_registering_again_replaces_and_warns():
    register_device("mine", 1e-12, 1e-12, True)
    with pytest.warns(UserWarning, match="Device 'Mine' already registered"):
        register_device("Mine", 2e-12, 1e-12, True)
    assert get_device("mine").energy_per_synop.value == 2e-12


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("", 1.0, 1.0, True), ValueError, "printable name"),
        (("a\nb", 1.0, 1.0, True), ValueError, "printable name"),
        (("x", -1.0, 1.0, True), ValueError, "energy_per_synop is -1.0"),
        (("x", 1.0, float("nan"), True), ValueError, "energy_per_neuron is nan"),
        (("x", "1", 1.0, True), TypeError, "energy_per_synop is '1'"),
        (("x", True, 1.0, True), TypeError, "energy_per_synop is True"),
        (("x", 1.0, 1.0, 1), TypeError, "spiking is 1"),
        (("x", Quantity.exact(1.0, "W", "P", "y"), 1.0, True), ValueError, "given in W"),
    ],
)
def test_unusable_figures_are_refused_and_nothing_is_added(arguments, error, message):
    before = list_devices()
    with pytest.raises(error, match=message):
        register_device(*arguments)
    assert list_devices() == before


def test_a_hand_made_device_is_checked():
    joules, watts = Quantity.exact(1.0, "J", "P", "x"), Quantity.exact(1.0, "W", "P", "x")
    with pytest.raises(ValueError, match="scope is 'everything'"):
        EnergyDevice("x", True, joules, joules, scope="everything")
    with pytest.raises(ValueError, match="'synop' of device 'x' is in W, but it must be in J"):
        EnergyDevice("x", True, watts, joules)
    with pytest.raises(ValueError, match="'static core' of device 'x' is in J"):
        EnergyDevice("x", True, joules, joules, static={"core": joules})
