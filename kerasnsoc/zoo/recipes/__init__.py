"""How the networks of the zoo are trained: data, quantization in steps, runs that go on."""
