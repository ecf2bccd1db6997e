"""Run by MLflow's own Python: registers prompts, given as JSON on standard input, through MLflow's own client."""

import json
import sys

import mlflow.genai  # type: ignore[import-not-found] # in an environment of its own

for prompt in json.load(sys.stdin):
    mlflow.genai.register_prompt(**prompt)
