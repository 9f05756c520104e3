"""Which settings of a region proposal head are the better ones.

The features of a data set are computed once. Heads are then trained alone on
them, in seconds each, so that many settings and seeds can be compared.
"""
