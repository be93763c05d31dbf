"""Tests that record what they allocate, and hold it against gates: a plug-in of pytest, and what it does when it is used."""
