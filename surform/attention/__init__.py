"""How tokens mix: pure functions of tensors with heads split, one per kind of attention.

Every kind has a literal reference and faster kernels; a dispatcher takes the first kernel that can
run the call.  `use` asks for one by name, `explain` says why each one was or was not taken, and
`kind` and `register` add kinds and kernels.
"""

from surform.attention import batch_last_products as _products  # noqa: F401  registers a kernel
from surform.attention import batch_last_vectors as _vectors  # noqa: F401  registers a kernel
from surform.attention.additive import additive
from surform.attention.axial import axial
from surform.attention.batch_last import softmax_batch_last
from surform.attention.delta import delta, delta_states
from surform.attention.dispatch import explain, kernels, kind, kinds, register, use
from surform.attention.flow import flow
from surform.attention.fourier import fourier
from surform.attention.graph import edge_weights, graph
from surform.attention.keysum import key_sums, keysum
from surform.attention.knn import knn
from surform.attention.linear import linear
from surform.attention.lsh import bucket_count, lsh, lsh_buckets
from surform.attention.multiresolution import multiresolution, selected_blocks
from surform.attention.normalized import normalized_linear
from surform.attention.probsparse import probsparse
from surform.attention.relu import relu
from surform.attention.softmax import softmax
from surform.attention.spectral import spectral

__all__ = [
    "additive",
    "axial",
    "bucket_count",
    "delta",
    "delta_states",
    "edge_weights",
    "explain",
    "flow",
    "fourier",
    "graph",
    "kernels",
    "key_sums",
    "keysum",
    "kind",
    "kinds",
    "knn",
    "linear",
    "lsh",
    "lsh_buckets",
    "multiresolution",
    "normalized_linear",
    "probsparse",
    "register",
    "relu",
    "selected_blocks",
    "softmax",
    "softmax_batch_last",
    "spectral",
    "use",
]
