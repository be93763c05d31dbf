"""Kinds of buddy systems other than the binary one: each a policy's module, chosen by the option `kind` of buddy."""
