"""Point clouds: sampled from meshes, grouped for `kerasnsoc.zoo.pointnet_plus_modelnet40`."""

from kerasnsoc.zoo.modelnet40.grouping import folding, group_points, to_integers
from kerasnsoc.zoo.modelnet40.meshes import read_off, sample_surface
from kerasnsoc.zoo.modelnet40.preprocessing import get_modelnet, get_modelnet_from_file
from kerasnsoc.zoo.modelnet40.synthetic import synthetic_clouds

__all__ = [
    "folding",
    "get_modelnet",
    "get_modelnet_from_file",
    "group_points",
    "read_off",
    "sample_surface",
    "synthetic_clouds",
    "to_integers",
]
