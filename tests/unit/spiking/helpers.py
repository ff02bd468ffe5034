"""Ways to run a layer, and plain NumPy versions of its equations."""

import keras
import numpy as np

MODES = ("eager", "graph", "xla")


def numbers(tensor):
    return np.asarray(tensor)


def uniform(*shape, low=-1.0, high=1.0, seed=0):
    return np.random.default_rng(seed).uniform(low, high, shape).astype("float32")


def run(function, mode, *arguments):
    """Call a function eagerly, in a graph, or compiled."""
    import tensorflow as tf

    if mode != "eager":
        function = tf.function(function, jit_compile=mode == "xla", autograph=False)
    return keras.tree.map_structure(numbers, function(*map(tf.constant, arguments)))


def gradient(function, *arguments):
    """Gradients of the sum of a function's result with respect to all arguments."""
    import tensorflow as tf

    tensors = [tf.constant(a) for a in arguments]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        total = tf.reduce_sum(function(*tensors))
    return [numbers(g) for g in tape.gradient(total, tensors)]


def spiking(rates, start, dt):
    """The rule of `SpikingActivation` in single precision, step by step."""
    dt = np.float32(dt)
    v, outputs = start.astype("float32"), []
    for r in rates.swapaxes(0, 1):
        v = v + r * dt
        n = np.floor(v)
        v = v - n
        outputs.append(n / dt)
    return np.stack(outputs, 1), v


def model_of(layer, *shape, batch=None):
    """A functional model of one layer."""
    inputs = keras.Input(batch_shape=(batch, *shape))
    return keras.Model(inputs, layer(inputs))
