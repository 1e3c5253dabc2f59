"""One row per model: what is proved of it, by the commands that prove it.

python -m benchmarks.matrix            # quick columns, beside the slow ones as kept
python -m benchmarks.matrix --slow     # measure the slow ones, keep them in benchmarks/results
python -m benchmarks.matrix --write    # put the table into README.md and docs/matrix.md
"""
