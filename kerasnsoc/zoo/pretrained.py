"""One function for each trained network, under the name that users know.

Those with weights return the artifact as a `kerasnsoc.Model`, or a Keras model where the record's
format says so. The others raise `PretrainedNotAvailableError`, whose message holds the training
command; they load the network as soon as the registry knows a file.
"""

from __future__ import annotations

from typing import Any

from kerasnsoc.zoo.registry import get_record, load_pretrained

_ALPHAS = (1.0, 0.5, 0.25)
_CIFAR_ALPHAS = (0.25, 0.7)


def ds_cnn_cifar10_pretrained(alpha: float = 0.25) -> Any:
    """A depthwise-separable network trained on CIFAR-10.

    Parameters
    ----------
    alpha : {0.25, 0.7}
        Width. The narrow network was trained in an hour on two processor cores; the other one wants
        an accelerator.

    Raises
    ------
    ValueError
        If the width is another one.
    PretrainedNotAvailableError
        If there are no weights.
    """
    return load_pretrained(f"ds_cnn_cifar10/{_checked(alpha, _CIFAR_ALPHAS)}/8-4-4")


def ds_cnn_kws_pretrained(dataset: str = "speech_commands", *, edge: bool = False) -> Any:
    """A network for spoken words.

    Parameters
    ----------
    dataset : {"speech_commands", "fsdd"}
        33 words of Speech Commands, or the ten digits of the Free Spoken Digit Dataset.
    edge : bool
        With features of 1 bit, for on-device learning. The digits are then zero to six: the other
        three are left to be learned.

    Raises
    ------
    ValueError
        If the data set is another one.
    PretrainedNotAvailableError
        If there are no weights.
    """
    bits = "8-4-4-1" if edge else "8-4-4"
    digits = "fsdd7" if edge else "fsdd10"
    return load_pretrained(
        _choice(
            dataset,
            speech_commands=f"ds_cnn_kws/speech_commands33/{bits}",
            fsdd=f"ds_cnn_kws/{digits}/{bits}",
        )
    )


def gxnor_mnist_pretrained() -> Any:
    """GXNOR-Net trained on MNIST with weights of 2 bits; see `load_pretrained`."""
    return load_pretrained("gxnor_mnist/2-2-1")


def mobilenet_imagenet_pretrained(alpha: float = 1.0) -> Any:
    """MobileNet trained on ImageNet; alpha is 1.0, 0.5 or 0.25."""
    return load_pretrained(f"mobilenet_imagenet/{_checked(alpha)}/8-4-4")


def mobilenet_imagenette_pretrained(alpha: float = 1.0) -> Any:
    """MobileNet trained on ten classes of ImageNet; alpha is 1.0, 0.5 or 0.25."""
    return load_pretrained(f"mobilenet_imagenette/{_checked(alpha)}/8-4-4")


def mobilenet_edge_imagenet_pretrained() -> Any:
    """MobileNet of half width with binary features, for on-device learning."""
    return load_pretrained("mobilenet_edge_imagenet/0.5/8-4-4-1")


def mobilenet_cats_vs_dogs_pretrained() -> Any:
    """MobileNet that tells cats from dogs, 160 × 160 pixels."""
    return load_pretrained("mobilenet_cats_vs_dogs/8-4-4")


def mobilenet_faceidentification_pretrained() -> Any:
    """MobileNet of half width that names faces, 112 × 96 pixels."""
    return load_pretrained("mobilenet_faceidentification/8-4-4")


def mobilenet_faceverification_pretrained() -> Any:
    """MobileNet of half width that compares faces, 112 × 96 pixels."""
    return load_pretrained("mobilenet_faceverification/8-4-4")


def vgg_cifar10_pretrained() -> Any:
    """The VGG network trained on CIFAR-10 with 2 bits."""
    return load_pretrained("vgg_cifar10/2-2-2")


def vgg_imagenet_pretrained() -> Any:
    """VGG-11 trained on ImageNet."""
    return load_pretrained("vgg_imagenet/8-4-4")


def vgg_melanoma_pretrained() -> Any:
    """VGG-11 that looks for melanoma."""
    return load_pretrained("vgg_melanoma/8-4-4")


def vgg_odir5k_pretrained() -> Any:
    """VGG-11 that tells four conditions of the eye apart."""
    return load_pretrained("vgg_odir5k/8-4-4")


def vgg_utk_face_pretrained() -> Any:
    """The network that estimates ages of faces."""
    return load_pretrained("vgg_utk_face/8-2-2")


def convtiny_gesture_pretrained(dataset: str = "dvs_gesture") -> Any:
    """A network for event cameras.

    Parameters
    ----------
    dataset : {"dvs_gesture", "synthetic"}
        Hand gestures, or ten handwritten digits that move in front of a simulated camera.

    Raises
    ------
    ValueError
        If the data set is another one.
    PretrainedNotAvailableError
        If there are no weights.
    """
    return load_pretrained(
        _choice(
            dataset,
            dvs_gesture="convtiny_dvs_gesture/dvs_gesture/4-4-4",
            synthetic="convtiny_dvs_gesture/synthetic/4-4-4",
        )
    )


def convtiny_handy_samsung_pretrained() -> Any:
    """The larger network for hand gestures in front of an event camera."""
    return load_pretrained("convtiny_dvs_handy/samsung/4-4-4")


def convtiny_cwru_pretrained() -> Any:
    """The network for bearing faults."""
    return load_pretrained("convtiny_cwru/8-2-4")


def pointnet_plus_modelnet40_pretrained(dataset: str = "modelnet40") -> Any:
    """A network for point clouds.

    Parameters
    ----------
    dataset : {"modelnet40", "synthetic"}
        40 kinds of things, or ten generated solids.

    Raises
    ------
    ValueError
        If the data set is another one.
    PretrainedNotAvailableError
        If there are no weights.
    """
    return load_pretrained(
        _choice(
            dataset,
            modelnet40="pointnet_plus/modelnet40/8-4-4",
            synthetic="pointnet_plus/synthetic/8-4-4",
        )
    )


def yolo_widerface_pretrained() -> tuple[Any, list[list[float]]]:
    """A detector of faces, and its anchors in grid cells."""
    return _detector("yolo_base/widerface/8-4-4")


def yolo_voc_pretrained() -> tuple[Any, list[list[float]]]:
    """A detector of persons and cars, and its anchors in grid cells."""
    return _detector("yolo_base/voc/8-4-4")


def yolo_synthetic_pretrained() -> tuple[Any, list[list[float]]]:
    """A detector of generated shapes, and its anchors in grid cells."""
    return _detector("yolo_base/synthetic/8-4-4")


def _checked(alpha: float, allowed: tuple[float, ...] = _ALPHAS) -> float:
    if alpha not in allowed:
        raise ValueError(f"alpha is {alpha!r}: the model is not available; there are {allowed}")
    return float(alpha)


def _choice(dataset: str, **keys: str) -> str:
    if dataset not in keys:
        raise ValueError(f"dataset is {dataset!r}, but it must be one of {list(keys)}")
    return keys[dataset]


def _detector(key: str) -> tuple[Any, list[list[float]]]:
    model = load_pretrained(key)
    return model, [list(pair) for pair in get_record(key).extra["anchors"]]
