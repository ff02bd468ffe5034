"""On a local Ray cluster of two workers: the integers and counts of one process."""

import json
import os
import signal

import numpy as np
import pytest
from typer.testing import CliRunner

from kerasnsoc import Model, cli, compare_devices
from kerasnsoc.distributed import batches, energy_sweep, map_dataset, run
from kerasnsoc.distributed.worker import LayerTotals, Runner
from tests.networks import every_kind, time_networks

ray = pytest.importorskip("ray", reason="needs the extra kerasnsoc[distributed]")
pytest.importorskip("ray.data", reason="needs the extra kerasnsoc[distributed]")

# Ray opens files and sockets that its own processes close, and warns about itself.
pytestmark = pytest.mark.filterwarnings("default")


def network(seed):
    return Model.from_spec(every_kind(seed)["image"])


IMAGES = np.random.default_rng(5).integers(0, 256, (203, 7, 9, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def cluster():
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=100_000_000,
    )
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    yield
    ray.shutdown()


def assert_counts(totals, model):
    expected = {name: LayerTotals.of(layer) for name, layer in model.get_statistics().items()}
    assert totals == expected


@pytest.mark.parametrize("method", ["predict", "evaluate"])
def test_two_workers_give_the_integers_and_counts_of_one_process(cluster, method):
    model = network(0)
    found = run(model, IMAGES, method=method, batch_size=16)
    np.testing.assert_array_equal(found.outputs, getattr(model, method)(IMAGES))
    assert found.outputs.dtype == getattr(model, method)(IMAGES[:1]).dtype
    model = network(0)
    model.forward(IMAGES)
    assert_counts(found.statistics, model)
    assert sum(found.workers.values()) == len(IMAGES)
    assert str(compare_devices(found.statistics)) == str(compare_devices(model))


def test_a_sweep_prices_what_one_process_counts(cluster):
    models = {"a": network(0), "b": network(1)}
    found = energy_sweep(models, IMAGES, ["loihi", "cpu"], batch_size=50)
    for name, model in models.items():
        model.forward(IMAGES)
        assert_counts(found.statistics[name], model)
        alone = compare_devices(model, ["loihi", "cpu"])
        assert found.comparisons[name].to_dict() == alone.to_dict()
    assert "mean over 203 samples" in str(found)
    assert set(found.to_dict()["networks"]) == {"a", "b"}
    assert found.to_frame()["network"].tolist() == ["a", "a", "b", "b"]


def test_a_dataset_gets_a_column(cluster):
    dataset = ray.data.from_numpy(IMAGES[:40])
    rows = map_dataset(dataset, network(0), inputs="data", outputs="class").take_all()
    given = np.stack([row["data"] for row in rows])
    classes = np.array([row["class"] for row in rows])
    np.testing.assert_array_equal(classes, network(0).predict(given))
    assert len(rows) == 40


@pytest.mark.parametrize(
    ("inputs", "match"),
    [
        (IMAGES[:0], "at least one sample"),
        (IMAGES[:4, :, :, 1:], "channels"),
        (IMAGES[:4].astype("float32"), "float32"),
        (
            np.where(np.arange(4).reshape(4, 1, 1, 1) == 3, 300, IMAGES[:4].astype("i4")),
            r"inputs\[3",
        ),
    ],
    ids=["empty", "shape", "dtype", "range"],
)
def test_inputs_are_refused_before_workers_start(inputs, match):
    with pytest.raises((TypeError, ValueError), match=match):
        run(network(0), inputs)
    with pytest.raises((TypeError, ValueError), match=f"(?s)'b'.*{match}"):
        energy_sweep({"b": network(0)}, inputs)


def test_a_sweep_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match="at least one network"):
        energy_sweep({}, IMAGES)
    with pytest.raises(ValueError, match="nowhere"):
        energy_sweep({"a": network(0)}, IMAGES, "nowhere")
    with pytest.raises(ValueError, match="devices is empty"):
        energy_sweep({"a": network(0)}, IMAGES, [])


def test_sequences_run_over_time(cluster):
    model = Model.from_spec(time_networks()["time_image"])
    frames = np.random.default_rng(1).integers(0, 256, (9, 3, 6, 7, 1), dtype=np.uint8)
    found = run(model, frames, method="evaluate", batch_size=4, workers=1)
    np.testing.assert_array_equal(found.outputs, model.evaluate(frames))
    assert_counts(found.statistics, model)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"workers": 1.5}, "workers is 1.5"),
        ({"threads": True}, "threads is True"),
        ({"method": "fit"}, "method is 'fit'"),
        ({"method": "forward", "num_classes": 2}, "num_classes is for"),
        ({"num_classes": 4}, "4"),
    ],
)
def test_options_are_refused_before_workers_start(options, match):
    with pytest.raises(ValueError, match=match):
        run(network(0), IMAGES, **options)


def test_the_commands_run_on_the_cluster(cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network(0).save("net.h5")
    np.save("x.npy", IMAGES[:20])

    def call(*arguments):
        result = CliRunner().invoke(cli.app, [*arguments, "--json"], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    alone = call("run", "net.h5", "x.npy", "--potentials")
    assert call("run", "net.h5", "x.npy", "--potentials", "--workers", "2") == alone
    alone = call("energy", "net.h5", "x.npy")
    assert call("energy", "net.h5", "x.npy", "--workers", "1") == alone


def test_a_lost_worker_is_replaced_and_its_batch_runs_again(cluster, tmp_path, monkeypatch):
    flag = tmp_path / "died"

    class Mortal(Runner):
        def __call__(self, batch):
            result = super().__call__(batch)
            if 100 in batch["index"] and not flag.exists():
                flag.write_text(str(os.getpid()))
                os.kill(os.getpid(), signal.SIGKILL)
            return result

    monkeypatch.setattr(batches, "Runner", Mortal)
    model = network(0)
    found = run(model, IMAGES, method="forward", batch_size=16)
    assert flag.exists()
    np.testing.assert_array_equal(found.outputs, model.forward(IMAGES))
    assert_counts(found.statistics, model)
