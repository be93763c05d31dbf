"""Replay a trace over tiers of memory, such as HBM, DRAM and NVMe, each with an address space and a policy of its own.

The part has a compiled loop of its own, which calls policies by the contract, and eviction rules, which choose the block that
leaves a full tier. It gathers its own tables, and knows nothing of figures and reports.
"""
