"""How the networks of the zoo are trained: data, steps of quantization, runs that can be resumed."""
