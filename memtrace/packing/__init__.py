"""Offline packing: give each block of a trace one address, knowing every lifetime beforehand, which no online policy does.

The problem is dynamic storage allocation (Garey and Johnson, SR2): rectangles, lifetime by size, that may move up and down are
to be placed so that none overlap and the whole is low. It is NP-hard: what is found here is an upper bound of the lowest
height, and peak live bytes are a lower bound. In these files a buffer is what one request asks for, with a fixed size and
lifetime; the height of a packing is where its highest buffer ends, in bytes.
"""
