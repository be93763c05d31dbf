"""What every figure is drawn with: frames and panels, scales, colours, fonts, and writing figures to files.

It knows how a curve or an axis looks, and not what is plotted; the figures themselves are in ``memtrace.plots``.
"""
