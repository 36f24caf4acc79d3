"""How fast prunebench is: `python -m benchmarks`. Each figure is a ratio of two things timed in turn in one run."""
