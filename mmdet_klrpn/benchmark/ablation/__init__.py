"""Which settings of a region proposal head are the better ones.

The features of a data set are computed once; then heads alone are trained on
them, in seconds each, so that many settings and seeds can be compared.
"""
