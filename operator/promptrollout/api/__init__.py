"""The custom resources as pydantic models: the only source of crds/*.yaml."""
