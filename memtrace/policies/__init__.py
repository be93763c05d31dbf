"""The placement policies: each file of this folder is one policy, and needs no other registration.

A policy is a module of plain functions, as ``memtrace.contract.policy`` declares them. It says where each block goes, and knows
nothing of the loop that calls it, of files, or of measures.
"""
