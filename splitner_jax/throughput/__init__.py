"""Throughput of systems beside each other, and beside what the machine can do.

`benchmark` runs it all: `workloads` says what is read, `training` and `tagging`
make the sides that take `turns`, `parts` and `latency` look closer, `figures`
does the arithmetic. All of it is in benchmark.json, from which `page` and
`plots` are made.
"""
