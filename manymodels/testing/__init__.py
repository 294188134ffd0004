"""What tests of manymodels, and of code that extends it, need."""
