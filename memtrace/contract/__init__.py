"""What the engine and the policies agree on: the policy contract, the request, the ledger, and the marks for the compiler.

It imports nothing else of the package: it knows neither a policy nor the loop that calls one.
"""
