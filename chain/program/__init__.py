"""The Quantumagi program: its C source, its build and the built shared object."""
