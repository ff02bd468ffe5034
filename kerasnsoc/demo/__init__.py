"""The whole way on real digits: train, quantize, freeze, run on integers, compare, price."""

from kerasnsoc.demo.digits import load_digits
from kerasnsoc.demo.run import DemoResult, run_demo

__all__ = ["DemoResult", "load_digits", "run_demo"]
