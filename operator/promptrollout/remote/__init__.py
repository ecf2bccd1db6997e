"""What every service shares that the operator's configuration names: sources, registries, webhooks, channels.

- `checks`: of URLs and credentials, as functions that raise ValueError.
- `files`: from a YAML file to a model, with the path of the field that is wrong.
- `signing`: signatures of webhooks (Standard Webhooks).
"""
