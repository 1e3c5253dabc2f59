"""Potentials of atomic systems: energies, forces and stresses of molecules, crystals, surfaces."""
