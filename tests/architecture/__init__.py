"""The walls of the house, as rules that :mod:`tests.test_architecture` holds this checkout to."""
