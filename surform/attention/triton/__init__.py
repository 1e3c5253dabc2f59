"""Triton kernels for CUDA; imported only by the kernels that use them."""
