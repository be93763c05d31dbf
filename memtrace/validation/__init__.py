"""Checks that share no code with the policies: of a placement (``placements``), and of a policy on random traces (``policies``).

A placement is checked from the trace and the addresses alone. No measure and no table is read here.
"""
