"""Speed and accuracy beside other differentiable optimization layers. `python -m benchmarks -h`."""
