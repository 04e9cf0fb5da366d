"""What addrsvc costs, told as ratios within one run: ``python -m tests.benchmarks`` prints them all.

Contenders take turns, round by round, and the median of their rounds counts, so that a busy machine slows all of them.
No test asserts a time: pytest runs each workload once to see that it does what it says.
"""
