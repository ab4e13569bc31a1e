"""What an audit costs: `python -m benchmarks`. Nothing here is a test."""
