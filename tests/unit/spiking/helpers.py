"""Ways to run a layer, and plain NumPy versions of its equations."""

import keras
import numpy as np

MODES = ("eager", "graph", "xla")


def numbers(tensor):
    return np.asarray(tensor)


def uniform(*shape, low=-1.0, high=1.0, seed=0):
    return np.random.default_rng(seed).uniform(low, high, shape).astype("float32")


def compiled(function, mode):
    """The function as it is, in a graph, or compiled; JAX compiles every graph."""
    if mode == "eager":
        return function
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    import tensorflow as tf

    return tf.function(function, jit_compile=mode == "xla", autograph=False)


def run(function, mode, *arguments):
    """Call a function eagerly, in a graph, or compiled."""
    tensors = map(keras.ops.convert_to_tensor, arguments)
    return keras.tree.map_structure(numbers, compiled(function, mode)(*tensors))


def gradient(function, *arguments):
    """Gradients of the sum of a function's result with respect to all arguments."""
    tensors = [keras.ops.convert_to_tensor(a) for a in arguments]
    return [
        numbers(slope(lambda x, i=i: function(*tensors[:i], x, *tensors[i + 1 :]), tensor))
        for i, tensor in enumerate(tensors)
    ]


def slope(function, x):
    """Gradient of the sum of a function's result, also inside a graph."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.grad(lambda x: keras.ops.sum(function(x)))(x)
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(function(x))
    return tape.gradient(total, x)


def weight_gradients(function, weights):
    """Gradients of the sum of a function's result with respect to variables of Keras."""
    if keras.backend.backend() == "jax":
        import jax

        def total_of(values):
            with keras.StatelessScope(list(zip(weights, values, strict=True))):
                return keras.ops.sum(function())

        return [numbers(g) for g in jax.grad(total_of)([w.value for w in weights])]
    import tensorflow as tf

    with tf.GradientTape() as tape:
        total = tf.reduce_sum(function())
    return [numbers(g) for g in tape.gradient(total, [w.value for w in weights])]


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
