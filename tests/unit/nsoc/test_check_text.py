"""How the answer of `kerasnsoc check` reads."""

from kerasnsoc.nsoc.reports import check_text


def entry(device, *messages, compatible=False):
    problems = [
        {"code": "device", "layer": "conv", "message": message, "severity": "error"}
        for message in messages
    ]
    return {
        "device": device,
        "has_cores": True,
        "compatible": compatible,
        "problems": problems,
    }


def test_devices_that_refuse_the_same_share_an_entry():
    content = [
        entry("a", "neurons of 'a' send spikes"),
        entry("b", compatible=True),
        entry("c", "neurons of 'c' send spikes"),
        entry("d", "it has no memory"),
        entry("e", compatible=True),
        entry("f", "neurons of 'f' send spikes"),
    ]
    assert check_text(content).splitlines() == [
        "a: does not fit",
        "  device: conv: neurons of 'a' send spikes",
        "  the same holds for c, f",
        "b: fits",
        "d: does not fit",
        "  device: conv: it has no memory",
        "e: fits",
    ]


def test_what_differs_stays_apart():
    content = [entry("a", "memory of 'a' is 3"), entry("b", "memory of 'b' is 4")]
    assert "the same" not in check_text(content)
