"""All tests of the operator; a package, so that the folders in it have names of their own."""
