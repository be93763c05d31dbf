"""The free lists that first-fit, best-fit and worst-fit hand over to, by the options `place`, `coalesce` and `order`."""
