"""Offline packing: every lifetime is known beforehand, and each block gets one address. What no online policy can know.

The problem is dynamic storage allocation (Garey and Johnson, SR2): rectangles that may move up and down, lifetime by size,
so that none overlap and the whole is low. It is NP-hard; what is found here is a bound from above, peak live one from below.
"""
