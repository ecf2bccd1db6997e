"""A real MLflow server with its own client, in an environment of its own: its dependencies are many."""
