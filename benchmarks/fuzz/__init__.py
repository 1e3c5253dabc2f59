"""Damaged files of every format that surform reads: none may crash, hang or lack a sentence."""
