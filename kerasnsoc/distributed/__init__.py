"""Batches and energy sweeps on many processes or machines, over Ray Data.

Needs the extra ``distributed``. The workers need kerasnsoc and nothing else of it: no Keras.
"""

from kerasnsoc.distributed.batches import DistributedRun, map_dataset, run
from kerasnsoc.distributed.sweep import EnergySweep, energy_sweep
from kerasnsoc.distributed.worker import LayerTotals

__all__ = ["DistributedRun", "EnergySweep", "LayerTotals", "energy_sweep", "map_dataset", "run"]
