"""Audio: spectrogram transformers (AST, PaSST) and the task that trains them."""
