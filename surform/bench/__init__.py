"""Speed and memory of models on this machine: the cases, and how they are measured."""
