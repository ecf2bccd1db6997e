"""Tests that share what this folder's conftest starts; as a package, so that it ends with the last of them."""
